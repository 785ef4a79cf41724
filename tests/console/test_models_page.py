"""The board of models: prices, health, rates, what the engine does not say, who sees what."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from api_house import CHAT, run
from console_house import Visitor, open_console, text_of

from batchmill.console.view.figures import price
from batchmill.domain.account import Role
from batchmill.domain.batch import Event, advance
from batchmill.domain.catalog import Catalog
from batchmill.domain.money import UNITS, units_per_token
from batchmill.domain.shards import Shard
from batchmill.ports import Progress
from batchmill.service.caller import Caller
from batchmill.service.model_board import Backing, Seat, UpstreamFigures

SEAT = ("qwen-plus", "http://10.0.0.5:8000/v1")
EVIL = '<script>alert(1)</script>"x'


@pytest.mark.parametrize(
    ("units", "currency", "shown"),
    [
        (0, "USD", "$0.00"),
        (UNITS // 40, "USD", "$0.025"),
        (UNITS * 12 // 10, "EUR", "€1.20"),
        (UNITS * 1234, "CNY", "¥1,234.00"),
        (1, "XYZ", "0.000000000000001 XYZ"),
        (units_per_token(Decimal("0.015")) * 1_000_000, "USD", "$0.015"),
    ],
)
def test_prices_are_shown_to_their_last_digit(units: int, currency: str, shown: str) -> None:
    assert price(units, currency) == shown


async def running(visitor: Visitor) -> None:
    """A batch of 40 lines that has just begun, at 2.5 lines a second."""
    file = await visitor.house.upload()
    batch_id = str((await visitor.house.create_batch(input_file_id=file["id"]))["id"])
    before = await visitor.house.batch(batch_id)
    after = advance(before, Event.PLANNED, visitor.house.clock.now())
    shard = Shard(batch_id, 0, 0, 10, 1, 40, ("qwen-plus",))
    await visitor.house.store.batches.plan(before, replace(after, model="qwen-plus"), [shard])
    visitor.house.progress[batch_id] = Progress(None, 2.5)


def test_the_board_says_what_a_model_costs_and_how_it_is_doing(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            await running(visitor)
            visitor.house.figures[SEAT] = UpstreamFigures(True, 3, 8, 12)
            said = text_of(await visitor.get("/models"))
            for words in (
                "qwen-plus",
                CHAT,
                "Present rate 2.5 lines/s",
                "Unfinished lines 40",
                "Per million tokens, in USD",
                "all $0.20 list $0.40 $0.60 list $1.20",
                "10.0.0.5:8000 up 3 / 8 12",
                "Without a price: its lines cost nothing.",
            ):
                assert words in said, (words, said)

    run(main())


def test_an_upstream_that_is_down_says_so_in_words(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            visitor.house.figures[SEAT] = UpstreamFigures(False, 0, 0, 7)
            assert "10.0.0.5:8000 down 0 / 0 7" in text_of(await visitor.get("/models"))

    run(main())


def test_what_is_not_known_is_a_dash_and_the_engine_is_told_to_be_away(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            first = text_of(await visitor.get("/models"))
            assert "The engine is not running" not in first
            assert "10.0.0.5:8000 — not asked yet — / — —" in first
            visitor.house.figures[SEAT] = UpstreamFigures(True, 3, 8, 12)
            visitor.house.engine[0] = False
            renewed = await visitor.renew("/models")
            said = text_of(renewed)
            assert "The engine is not running" in said
            assert "10.0.0.5:8000 — — / — —" in said
            assert "Present rate — Unfinished lines" in said
            assert "<html" not in renewed.text
            assert 'hx-trigger="every 2s"' in renewed.text

    run(main())


def test_only_operators_learn_where_upstreams_are(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            for role in (Role.MEMBER, Role.READ_ONLY):
                await visitor.sign_in(await visitor.make_key(role))
                page = await visitor.get("/models")
                assert page.status_code == 200
                assert "10.0.0.5" not in page.text
                assert "upstream 1" in text_of(page)

    run(main())


def test_a_key_that_is_held_to_some_models_sees_those_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            room = await visitor.house.services.admin.workspaces.create(Caller(), "Evaluations")
            secret = await visitor.make_key(Role.MEMBER, workspace=room.id, models=("qwen-plus",))
            await visitor.sign_in(secret)
            said = text_of(await visitor.get("/models"))
            assert "qwen-plus" in said
            assert "Qwen3-8B" not in said
            secret = await visitor.make_key(Role.MEMBER, workspace=room.id, models=("gone",))
            await visitor.sign_in(secret)
            assert "No models are served." in text_of(await visitor.get("/models"))

    run(main())


def test_regions_are_shown_and_a_model_that_is_barred_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To operators; who cannot do anything about it sees the models that are served."""
    catalog = Catalog({"qwen-plus": frozenset({CHAT})}, barred=frozenset({"away"}))
    eu = Seat("http://eu/v1", "eu:1", region="eu")
    cn = Seat("http://cn/v1", "cn:1", region="cn", is_allowed=False)
    backings = {
        "qwen-plus": Backing((eu, cn), compute_regions=("*", "!cn")),
        "away": Backing((cn,), compute_regions=("us",)),
    }
    monkeypatch.setattr("api_house.BACKINGS", backings)

    async def main() -> None:
        async with open_console(tmp_path, catalog=catalog, needs_keys=True) as visitor:
            await visitor.sign_in(await visitor.make_key(Role.ADMIN))
            said = text_of(await visitor.get("/models"))
            assert "Computed in * , !cn" in said
            assert "eu:1 weight 1.0 eu — not asked yet" in said
            assert "cn:1 weight 1.0 cn not used its region is not allowed" in said
            assert "Not served: none of its upstreams is in a region" in said
            assert "away" in said
            await visitor.sign_in(await visitor.make_key(Role.MEMBER))
            said = text_of(await visitor.get("/models"))
            assert "Computed in * , !cn" in said
            assert "away" not in said
            assert "eu:1" not in said

    run(main())


def test_where_nobody_named_a_region_none_is_shown(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            said = text_of(await visitor.get("/models"))
            assert "Region" not in said
            assert "Computed in" not in said

    run(main())


def test_a_hostile_name_is_shown_as_text_and_linked_safely(tmp_path: Path) -> None:
    async def main() -> None:
        catalog = Catalog({EVIL: frozenset({CHAT}), "Qwen/a&b": frozenset({CHAT})})
        async with open_console(tmp_path, catalog=catalog) as visitor:
            page = await visitor.get("/models")
            assert "<script>alert" not in page.text
            assert EVIL in text_of(page)
            assert "/console/monitoring/models?model=Qwen/a%26b" in page.text

    run(main())
