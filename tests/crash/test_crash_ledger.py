"""Batches that end early are charged for what is in their output file, whatever was killed."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_batch import TERMINAL, Json, Trial, ask, read_journal, revive
from crash_ledger import DEARER, check_ledger
from crash_outgrown import Outgrown, outgrown
from crash_server import Server, serving
from crash_upstream import Upstream, upstream_running
from crash_waiting import wait_until

from batchmill.upstream.mock import Script

LINES = 400

pytestmark = pytest.mark.slow


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_running(Script(latency=0.02)) as running:
        yield running


@pytest.fixture
def shared(request: pytest.FixtureRequest) -> Iterator[Outgrown | None]:
    """The stores that the parameter names; None is the data folder."""
    if request.param == "embedded":
        yield None
    else:
        with outgrown() as stores:
            yield stores


def strike(server: Server, rng: random.Random) -> None:
    if rng.random() < 0.5:
        server.kill_all()
    else:
        server.kill_any("engine")
    revive(server)


def ended(trial: Trial) -> Json:
    wait_until(lambda: trial.get()["status"] in TERMINAL, "the batch ended", pause=0.05)
    return trial.get()


def check_bill(trial: Trial, batch: Json) -> None:
    content = b""
    if batch["output_file_id"]:
        path = f"/files/{batch['output_file_id']}/content"
        content = ask(trial.server.client, path).content
    check_ledger(trial.server.stores, batch, trial.parse(content))


def run_a_while(trial: Trial, rng: random.Random) -> None:
    """Some lines are answered, something is killed, some more are answered; then nothing moves."""
    trial.upstream.hold_after(rng.randint(60, 150))
    strike(trial.server, rng)
    trial.upstream.hold_after(rng.randint(30, 90))
    wait_until(lambda: read_journal(trial.server, trial.id)[0], "some lines are settled")


@pytest.mark.parametrize(
    ("seed", "shared"),
    [(1, "embedded"), (2, "embedded"), (5, "outgrown")],
    indirect=["shared"],
)
def test_a_cancelled_batch_is_charged_exactly(
    seed: int, shared: Outgrown | None, upstream: Upstream, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    with serving(tmp_path, upstream.url, shared, shard_lines=50, cancel_grace=0.1) as server:
        trial = Trial(f"cancel-{seed}", LINES, server, upstream)
        trial.submit()
        run_a_while(trial, rng)
        assert server.client.post(f"/batches/{trial.id}/cancel").status_code == 200
        strike(server, rng)
        batch = ended(trial)
        assert batch["status"] == "cancelled"
        assert 0 < batch["request_counts"]["completed"] < LINES
        check_bill(trial, batch)
        server.stop()


@pytest.mark.parametrize("seed", [3, 4])
def test_an_expired_batch_is_charged_exactly(seed: int, upstream: Upstream, tmp_path: Path) -> None:
    rng = random.Random(seed)
    with serving(tmp_path, upstream.url, shard_lines=50) as server:
        trial = Trial(f"expire-{seed}", LINES, server, upstream, window="30s")
        trial.submit()
        run_a_while(trial, rng)
        batch = ended(trial)  # nothing is answered any more, so the deadline ends it
        assert batch["status"] == "expired"
        assert batch["request_counts"]["completed"] < LINES
        check_bill(trial, batch)
        server.stop()


def test_a_price_that_changes_in_the_middle_is_not_the_price_of_what_runs(
    upstream: Upstream, tmp_path: Path
) -> None:
    with serving(tmp_path, upstream.url, shard_lines=50) as server:
        trial = Trial("reprice", LINES, server, upstream)
        trial.submit()
        upstream.hold_after(120)
        server.prices.write_text(DEARER)
        server.kill_all()
        revive(server)
        upstream.release()
        batch = trial.check()
        assert batch["request_counts"]["completed"] > 0
        server.stop()
