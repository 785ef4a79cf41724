"""The API under a fuzzer that reads its own description: no surprise, no undocumented answer."""

from pathlib import Path
from typing import Any

import pytest
from fuzz_house import OPERATIONS, furnished
from fuzz_stock import AnyCase, put_known
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from schemathesis.core.failures import FailureGroup

# Mostly who gets far; the last two are held at the door.
CALLERS = (*["operator"] * 6, *["admin"] * 2, "member", "nobody", "stranger")
MANY, FEW = 60, 20
CHAINS, LINKS = 40, 15


def settled(examples: int) -> settings:
    """The same examples in every run; slow generation is no failure on a slow machine."""
    return settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=examples,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        stateful_step_count=LINKS,
    )


def test_a_surprise_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of the checks: an operation that breaks does not pass."""
    with furnished(tmp_path, locked=False) as ground:
        monkeypatch.setattr(ground.house.store.batches, "list", None)
        (case, *_) = ground.sweep("listBatches")
        with pytest.raises(FailureGroup, match="Server error"):
            ground.ask(case)


@pytest.mark.parametrize(
    "locked", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["locked", "open"]
)
def test_no_boundary_of_any_operation_surprises(tmp_path: Path, locked: bool) -> None:
    """Each end of every range that the description has, inside and outside, and other methods."""
    with furnished(tmp_path, locked=locked) as ground:
        for op in OPERATIONS:
            for case in ground.sweep(op):
                ground.ask(case)


@pytest.mark.slow
@pytest.mark.parametrize("op", OPERATIONS)
def test_whatever_is_sent_is_answered_as_described(tmp_path: Path, op: str) -> None:
    with furnished(tmp_path, locked=True) as ground:
        known = ground.stock.known

        @settled(MANY if ground.takes_much(op) else FEW)
        @given(case=ground.whatever(op), data=st.data())
        def ask(case: AnyCase, data: Any) -> None:
            put_known(case, known, lambda found: data.draw(st.sampled_from(found)))
            ground.ask(case, data.draw(st.sampled_from(CALLERS)))

        ask()


@pytest.mark.slow
def test_no_chain_of_requests_surprises(tmp_path: Path) -> None:
    with furnished(tmp_path, locked=True) as ground:
        run_state_machine_as_test(ground.chains(), settings=settled(CHAINS))
