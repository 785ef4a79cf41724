"""The model board: who sees which models, prices and upstreams, with and without an engine."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, cast

import pytest

from batchmill.domain.account import Role
from batchmill.domain.batch import Batch, Counts, Status
from batchmill.domain.catalog import TEST_ENDPOINT, TEST_MODEL, Catalog
from batchmill.domain.pricing import ModelPrice, PriceTable, Tier
from batchmill.ports import BatchStore, Progress
from batchmill.service.caller import Caller
from batchmill.service.model_board import (
    Backing,
    ModelBoard,
    ModelState,
    Offer,
    Seat,
    UpstreamFigures,
    UpstreamState,
)

NOW = 1_000.0
CHAT, EMBED = "/v1/chat/completions", "/v1/embeddings"
OPERATOR = Caller()
TENANT = Caller("acme", "ws_1", Role.ADMIN, "key_1")
OFFER = Offer(
    Catalog(
        {
            "qwen": frozenset({EMBED, CHAT}),
            "bge": frozenset({EMBED}),
            TEST_MODEL: frozenset({TEST_ENDPOINT}),
        }
    ),
    PriceTable(
        "1",
        (
            ModelPrice("qwen", "USD", (Tier(Decimal(1), Decimal(2)),)),
            ModelPrice("qwen", "USD", (Tier(Decimal(3), Decimal(4)),), valid_from=NOW + 10),
            ModelPrice(TEST_MODEL, "USD", (Tier(Decimal(1)),)),
        ),
    ),
    {
        "qwen": Backing((Seat("http://a/v1", "a:8000"), Seat("http://b/v1", "b", 2.0))),
        TEST_MODEL: Backing((Seat("test", "built-in"),), is_builtin=True),
    },
)


def running(name: str, model: str | None, left: int, account: str = "acme") -> Batch:
    return Batch(
        id=name,
        account=account,
        input_file_id="f",
        endpoint=CHAT,
        completion_window="24h",
        status=Status.IN_PROGRESS,
        created_at=0.0,
        expires_at=NOW + 1,
        model=model,
        counts=Counts(total=left + 5, completed=3, failed=2),
    )


@dataclass
class House:
    """What the board looks at, to be turned by a test."""

    time: float = NOW
    batches: list[Batch] = field(default_factory=list)
    progress: dict[str, Progress] = field(default_factory=dict)
    figures: Mapping[tuple[str, str], UpstreamFigures] | None = field(default_factory=dict)
    asked: int = 0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    async def unfinished(self) -> Sequence[Batch]:
        self.asked += 1
        return self.batches

    def board(self, offer: Offer = OFFER) -> ModelBoard:
        return ModelBoard(
            offer=offer,
            batches=cast("BatchStore", self),
            clock=self,
            figures=lambda: self.figures,
            progress=self.progress.get,
        )


def look(house: House, caller: Caller = OPERATOR) -> dict[str, ModelState]:
    states = asyncio.run(house.board().look(caller))
    assert [state.name for state in states] == sorted(state.name for state in states)
    return {state.name: state for state in states}


def test_every_model_is_there_with_its_endpoints_in_their_order() -> None:
    states = look(House())
    assert {name: state.endpoints for name, state in states.items()} == {
        TEST_MODEL: (TEST_ENDPOINT,),
        "bge": (EMBED,),
        "qwen": (CHAT, EMBED),
    }
    assert {name for name, state in states.items() if state.builtin} == {TEST_MODEL}
    assert states["bge"].upstreams == ()


@pytest.mark.parametrize(
    ("models", "seen"),
    [(None, {"bge", "qwen", TEST_MODEL}), ({"bge", "x"}, {"bge"}), (set(), set())],
)
def test_a_caller_sees_only_what_the_caller_may_call(models: Any, seen: set[str]) -> None:
    allowed = None if models is None else frozenset(models)
    assert set(look(House(), replace(TENANT, models=allowed))) == seen


@pytest.mark.parametrize(
    ("caller", "urls"),
    [
        (OPERATOR, ["a:8000", "b"]),
        (replace(OPERATOR, role=Role.MEMBER), ["upstream 1", "upstream 2"]),
        (replace(OPERATOR, role=Role.READ_ONLY), ["upstream 1", "upstream 2"]),
        (TENANT, ["upstream 1", "upstream 2"]),
    ],
)
def test_only_operators_learn_where_upstreams_are(caller: Caller, urls: list[str]) -> None:
    house = House(figures={("qwen", "http://b/v1"): UpstreamFigures(is_up=True, in_flight=3)})
    state = look(house, caller)["qwen"]
    assert [one.url for one in state.upstreams] == urls
    assert [one.in_flight for one in state.upstreams] == [None, 3]
    assert (OPERATOR is caller) == ("a:8000" in repr(state))


def test_a_barred_model_is_on_the_board_of_operators_alone() -> None:
    seat = Seat("http://c/v1", "c:1", region="cn", is_allowed=False)
    offer = replace(
        OFFER,
        catalog=replace(OFFER.catalog, barred=frozenset({"away"})),
        backings={"away": Backing((seat,), compute_regions=("eu",))},
    )

    async def names(caller: Caller) -> dict[str, bool]:
        return {one.name: one.is_served for one in await House().board(offer).look(caller)}

    seen = {"bge": True, "qwen": True, TEST_MODEL: True}
    assert asyncio.run(names(OPERATOR)) == {**seen, "away": False}
    assert asyncio.run(names(TENANT)) == seen
    assert asyncio.run(names(replace(OPERATOR, models=frozenset({"qwen"})))) == {"qwen": True}


def test_figures_are_those_of_the_models_own_upstreams() -> None:
    seen = UpstreamFigures(is_up=False, in_flight=0, limit=64, faults=7)
    house = House(figures={("qwen", "http://a/v1"): seen, ("bge", "http://b/v1"): seen})
    assert look(house)["qwen"].upstreams == (
        UpstreamState("a:8000", 1.0, is_up=False, in_flight=0, limit=64, faults=7),
        UpstreamState("b", 2.0),
    )


def test_the_price_is_the_one_that_is_valid_now() -> None:
    for time, expected in ((NOW, 10**15), (NOW + 9.9, 10**15), (NOW + 10, 3 * 10**15)):
        price = look(House(time=time))["qwen"].price
        assert price is not None
        assert price.tiers[0].list_price.input == expected
        assert price.tiers[0].batch_price.input == expected // 2
    assert look(House())["bge"].price is None
    assert look(House())[TEST_MODEL].price is None


def test_lines_and_rates_add_up_over_the_batches_of_everybody() -> None:
    batches = [running("1", "qwen", 10), running("2", "qwen", 5, "rival"), running("3", None, 99)]
    house = House(batches=batches)
    house.progress = {"1": Progress(None, 2.0), "2": Progress(None, 0.5), "3": Progress(None, 8.0)}
    states = look(house)
    assert (states["qwen"].unfinished_lines, states["qwen"].lines_per_second) == (15, 2.5)
    assert (states["bge"].unfinished_lines, states["bge"].lines_per_second) == (0, None)


def test_a_rate_of_nothing_is_not_an_unknown_rate() -> None:
    house = House(batches=[running("1", "qwen", 10), running("2", "bge", 10)])
    house.progress = {"1": Progress(None, 0.0), "2": Progress(4, None)}
    states = look(house)
    assert (states["qwen"].lines_per_second, states["bge"].lines_per_second) == (0.0, None)


def test_without_an_engine_its_figures_are_unknown_and_the_rest_stands() -> None:
    """What it wrote down before it went is no longer true."""
    house = House(batches=[running("1", "qwen", 10)], progress={"1": Progress(None, 2.0)})
    house.figures = None
    state = look(house)["qwen"]
    assert (state.lines_per_second, state.unfinished_lines) == (None, 10)
    assert state.upstreams == (UpstreamState("a:8000", 1.0), UpstreamState("b", 2.0))
    assert state.price is not None


def test_onlookers_share_one_look_at_the_store_for_a_second() -> None:
    async def main() -> None:
        house = House(batches=[running("1", "qwen", 10)])
        board = house.board()

        async def left(time: float) -> int:
            house.time = time
            (state,) = await board.look(replace(TENANT, models=frozenset({"qwen"})))
            return state.unfinished_lines

        assert await left(NOW) == 10
        house.batches = [running("1", "qwen", 9)]
        assert (await left(NOW + 0.9), house.asked) == (10, 1)
        assert (await left(NOW + 1.0), house.asked) == (9, 2)
        house.batches = []
        assert (await left(NOW - 500.0), house.asked) == (0, 3), "the clock was set back"

    asyncio.run(main())
