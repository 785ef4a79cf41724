"""Monitoring in the console: what it counts, over which times, and whom it shows what."""

from pathlib import Path
from urllib.parse import quote

import pytest
from api_house import run
from console_house import text_of
from console_usage import EVIL, NOW, charts_of, enter, mine, open_usage, values_of
from usage_rows import DAY, HOUR, Row, write_rows

from batchmill.domain.account import Role
from batchmill.domain.usage import Usage
from batchmill.service.caller import Caller

CUSTOM = "/monitoring?range=custom"


def test_totals_and_a_table_say_how_the_models_did(tmp_path: Path) -> None:
    rows = [
        mine("b1", NOW - 60, calls=1_000, failures=10, rejections=3, millis=500_000),
        mine("b2", NOW - HOUR, model="qwen-max", calls=200, failures=0, millis=400_000),
        mine("b3", NOW - 30, calls=40, failures=0, millis=0, running=True),
    ]

    async def main() -> None:
        async with open_usage(tmp_path, rows) as visitor:
            page = await visitor.get("/monitoring")
            said = text_of(page)
            assert "Calls 1,240 Failures 10 Failure rate 0.8 % Average duration 0.7 s" in said
            assert "Tokens 450 300 in, 150 out 429 answers 7" in said
            assert "qwen-plus 1,040 10 1.0 % 0.5 s" in said
            assert said.index("qwen-plus 1,040") < said.index("qwen-max 200")
            assert 'href="/console/monitoring/models?model=qwen-max"' in page.text

    run(main())


def test_charts_have_every_period_and_gaps_where_nothing_was_called(tmp_path: Path) -> None:
    rows = [mine("b1", NOW - 2 * HOUR, calls=10, failures=1, millis=5_000)]

    async def main() -> None:
        async with open_usage(tmp_path, rows) as visitor:
            charts = charts_of(await visitor.get("/monitoring"))
            assert set(charts) == {"calls", "durations", "tokens", "rejections"}
            calls = charts["calls"]
            assert (calls["period"], calls["stacked"], len(calls["x"])) == ("hour", True, 25)
            assert [b - a for a, b in zip(calls["x"], calls["x"][1:], strict=False)] == [HOUR] * 24
            assert values_of(calls)["succeeded"] == [0] * 22 + [9, 0, 0]
            assert values_of(calls)["failed"] == [0] * 22 + [1, 0, 0]
            duration = values_of(charts["durations"])["average duration"]
            assert duration == [None] * 22 + [0.5, None, None]
            month = charts_of(await visitor.get("/monitoring?range=month"))["calls"]
            assert (month["period"], month["zone"], len(month["x"])) == ("day", "UTC", 31)

    run(main())


@pytest.mark.parametrize(
    ("name", "seconds"), [("hour", HOUR), ("day", DAY), ("week", 7 * DAY), ("month", 30 * DAY)]
)
def test_a_time_holds_what_is_within_it(name: str, seconds: float, tmp_path: Path) -> None:
    """And nothing from before."""
    rows = [mine("b1", NOW + 1 - seconds, calls=7), mine("b2", NOW - seconds, calls=500)]

    async def main() -> None:
        async with open_usage(tmp_path, rows) as visitor:
            said = text_of(await visitor.get(f"/monitoring?range={name}"))
            assert "Calls 7 Failures" in said

    run(main())


def test_a_visitor_s_own_times_are_in_their_own_zone(tmp_path: Path) -> None:
    rows = [mine("b1", NOW - 5 * DAY, calls=7), mine("b2", NOW - 5 * DAY - HOUR, calls=500)]
    asked = f"{CUSTOM}&since=2026-11-16T13:00&until=2026-11-16T14:00"

    async def main() -> None:
        async with open_usage(tmp_path, rows) as visitor:
            page = await visitor.get(asked, cookie="batchmill_zone=Europe%2FBerlin")
            assert "Calls 7 Failures" in text_of(page)
            assert 'value="2026-11-16T13:00"' in page.text
            assert "every 10s" not in page.text
            assert "Calls 500 Failures" in text_of(
                await visitor.get(f"{CUSTOM}&since=2026-11-16T11:00&until=2026-11-16T12:00")
            )

    run(main())


def test_thirty_days_are_looked_at_and_no_minute_more(tmp_path: Path) -> None:
    """The refusal stands where the figures would, and the filters stay."""

    async def main() -> None:
        async with open_usage(tmp_path, [mine("b1", NOW - 5 * DAY)]) as visitor:
            until = "&until=2026-11-20T00:00"
            most = await visitor.get(f"{CUSTOM}&since=2026-10-21T00:00{until}")
            assert most.status_code == 200
            assert "Calls 10 Failures" in text_of(most)
            for path in ("/monitoring", "/monitoring/models"):
                asked = f"{path}?range=custom&model=qwen-plus&since=2026-10-20T23:59{until}"
                for page in (await visitor.get(asked), await visitor.renew(asked)):
                    assert page.status_code == 400
                    assert "monitoring looks at no more than 30 days" in text_of(page)
                    assert "every 10s" not in page.text
                    assert "hx-retarget" not in page.headers
                assert 'id="range"' in (await visitor.get(asked)).text

    run(main())


@pytest.mark.parametrize(
    "query",
    [
        "range=custom&since=x&until=",
        "range=century",
        "range=&bucket=second",
        "range=custom&since=99999-01-01&until=0000-00-00",
        "since=2026-01-01T00:00",
        "range=custom&since=" + "9" * 5_000,
    ],
)
def test_what_cannot_be_read_is_as_if_it_were_not_there(query: str, tmp_path: Path) -> None:
    """The last day is shown."""

    async def main() -> None:
        async with open_usage(tmp_path, [mine("b1"), mine("b2", NOW - 2 * DAY)]) as visitor:
            page = await visitor.get(f"/monitoring?{query}")
            assert page.status_code == 200
            assert "Calls 10 Failures" in text_of(page)

    run(main())


def test_times_that_end_before_they_begin_are_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_usage(tmp_path) as visitor:
            page = await visitor.get(f"{CUSTOM}&since=2026-11-02T00:00&until=2026-11-01T00:00")
            assert page.status_code == 400
            assert "must lie before 'end_time'" in text_of(page)
            far = await visitor.get(f"{CUSTOM}&since=2026-11-02T00:00&until=2999-11-01T00:00")
            assert far.status_code == 400

    run(main())


def test_only_a_time_that_goes_on_is_asked_for_again(tmp_path: Path) -> None:
    """And then the live part alone is answered."""

    async def main() -> None:
        async with open_usage(tmp_path, [mine("b1")]) as visitor:
            page = await visitor.get("/monitoring?range=week")
            assert 'hx-get="/console/monitoring?range=week" hx-trigger="every 10s"' in page.text
            part = await visitor.renew("/monitoring?range=week")
            assert part.text.lstrip().startswith('<section id="live"')
            assert "<form" not in part.text
            assert "every 10s" in (await visitor.get(f"{CUSTOM}&since=2026-11-20T00:00")).text
            model = await visitor.renew("/monitoring/models?model=qwen-plus")
            assert model.text.lstrip().startswith('<section id="live"')

    run(main())


def test_filters_narrow_what_is_counted_and_stand_in_the_address(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_usage(tmp_path) as visitor:
            room = await visitor.house.services.admin.workspaces.create(Caller(), f"Tests {EVIL}")
            rows = [
                mine("b1", calls=7),
                mine("b2", model="qwen-max", calls=500),
                mine("b3", workspace=room.id, calls=90),
            ]
            await write_rows(visitor.house.store, rows)
            page = await visitor.get("/monitoring?model=qwen-plus")
            assert "Calls 97 Failures" in text_of(page)
            assert 'value="qwen-plus" selected' in page.text
            assert EVIL not in page.text
            page = await visitor.get(f"/monitoring?workspace={room.id}")
            assert "Calls 90 Failures" in text_of(page)
            gone = await visitor.get("/monitoring?model=gone")
            assert "No calls in this time." in text_of(gone)
            assert "<option selected>gone</option>" in gone.text
            changed = await visitor.get(
                "/monitoring?range=week&since=2026-11-01T00:00&until=&model=qwen-max",
                **{"hx-request": "true", "hx-target": "live", "hx-trigger": "filters"},
            )
            address = "/console/monitoring?range=week&model=qwen-max"
            assert changed.headers["hx-push-url"] == address
            assert "hx-push-url" not in (await visitor.renew("/monitoring?range=week")).headers

    run(main())


def test_a_model_s_page_tells_its_workspaces_and_tokens_apart(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_usage(tmp_path) as visitor:
            room = await visitor.house.services.admin.workspaces.create(Caller(), "Evaluations")
            used = Usage(1_000, 500, 300, 100)
            rows = [
                mine("b1", calls=70, usage=used),
                mine("b2", workspace=room.id, calls=30, usage=used),
                mine("b3", model="qwen-max", calls=999),
            ]
            await write_rows(visitor.house.store, rows)
            page = await visitor.get("/monitoring/models?model=qwen-plus&range=week")
            said = text_of(page)
            assert "Calls 100 Failures 2 Failure rate 2.0 %" in said
            assert "Tokens 3,000 Input 2,000 Of that cached 600 Output 1,000" in said
            assert "Default 70 1" in said
            assert "Evaluations 30 1" in said
            kinds = values_of(charts_of(page)["tokens"])
            sums = {name: sum(one or 0 for one in values) for name, values in kinds.items()}
            assert sums == {"input": 1400, "cached input": 600, "output": 800, "reasoning": 200}
            assert 'href="/console/monitoring?range=week"' in page.text

    run(main())


def test_a_model_s_page_needs_a_model_and_bears_an_unknown_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_usage(tmp_path) as visitor:
            unnamed = await visitor.get("/monitoring/models")
            assert unnamed.status_code == 400
            assert "The address names no model" in text_of(unnamed)
            unknown = await visitor.get("/monitoring/models?model=nobody")
            assert unknown.status_code == 200
            assert "No calls in this time." in text_of(unknown)

    run(main())


def test_a_name_is_text_wherever_it_stands(tmp_path: Path) -> None:
    name = f"{EVIL}'\"&\u202e</figure>"

    async def main() -> None:
        async with open_usage(tmp_path, [mine("b1", model=name)]) as visitor:
            for path in ("/monitoring", f"/monitoring/models?model={quote(name)}"):
                page = await visitor.get(path)
                assert page.status_code == 200
                assert EVIL not in page.text
                assert "&lt;script&gt;" in page.text

    run(main())


def test_an_empty_server_says_what_to_do(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_usage(tmp_path) as visitor:
            said = text_of(await visitor.get("/monitoring"))
            assert "No calls in this time. Choose a longer time, or create a batch" in said
            assert "— 0" not in said

    run(main())


ROWS = (
    mine("b1", calls=7),
    Row("b2", at=NOW - 60, calls=11),
    Row("b3", at=NOW - 60, workspace="ws_2", key="key_2", calls=13),
)


def test_the_operator_looks_at_their_own_account_or_all_or_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_usage(tmp_path, ROWS) as visitor:
            for query, calls in (("", 7), ("account=all", 31), ("account=acme", 24)):
                page = await visitor.get(f"/monitoring?{query}")
                assert f"Calls {calls} Failures" in text_of(page), query
                assert 'id="account"' in page.text
            assert (await visitor.get("/monitoring?account=nobody")).status_code == 404

    run(main())


@pytest.mark.parametrize("role", list(Role))
def test_other_accounts_see_their_own_alone(role: Role, tmp_path: Path) -> None:
    """Whatever the role: looking is for all."""

    async def main() -> None:
        async with open_usage(tmp_path, ROWS, needs_keys=True) as visitor:
            await enter(visitor, role)
            page = await visitor.get("/monitoring")
            assert "Calls 24 Failures" in text_of(page)
            assert 'id="account"' not in page.text
            assert 'id="in-workspace"' in page.text
            for theirs in ("default", "all"):
                assert (await visitor.get(f"/monitoring?account={theirs}")).status_code == 404

    run(main())


def test_members_of_a_workspace_see_that_workspace_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_usage(tmp_path, ROWS, needs_keys=True) as visitor:
            await enter(visitor, Role.MEMBER, "ws_2")
            page = await visitor.get("/monitoring")
            assert "Calls 13 Failures" in text_of(page)
            assert 'id="in-workspace"' not in page.text
            assert (await visitor.get("/monitoring?workspace=ws_1")).status_code == 404
            assert (await visitor.get("/monitoring?workspace=ws_2")).status_code == 200

    run(main())
