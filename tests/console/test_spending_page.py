"""Spending in the console: the month so far, trends, line items, the same as a table, and roles."""

import csv
import io
import re
from html import unescape
from pathlib import Path

import api_house
import pytest
from api_house import run
from console_house import Visitor, text_of
from console_usage import EVIL, NOW, charts_of, enter, mine, open_usage, values_of
from usage_rows import DAY, NOV, UNIT, Row, write_rows

from batchmill.domain.account import Role
from batchmill.domain.caps import Scope
from batchmill.domain.pricing import NO_PRICES, Item
from batchmill.service.caller import Caller
from batchmill.service.caps import CapSpec
from batchmill.service.keys import KeySpec
from batchmill.service.trends import MAX_PERIODS

LIST = "/spending?view=list"


def priced(units: int) -> tuple[tuple[Item, int, int, int], ...]:
    """One line item at half price."""
    return ((Item.INPUT, 100, 2 * units, units),)


async def cap(visitor: Visitor, limit: str, alert: int | None = None) -> None:
    spec = CapSpec(Scope.WORKSPACE, limit, "ws_default", "USD", alert)
    await visitor.house.services.accounting.caps.put(Caller(), spec)


def test_the_month_stands_against_its_limit_in_each_currency(tmp_path: Path) -> None:
    """What is charged and what runs on top; nothing is summed over currencies."""
    rows = [
        mine("b1"),
        mine("b2", running=True),
        mine("b3", currency="CNY", items=priced(7 * UNIT)),
        mine("b4", NOV - 60, items=priced(900 * UNIT)),
    ]

    async def main() -> None:
        async with open_usage(tmp_path, rows) as visitor:
            await cap(visitor, "8", 80)
            page = await visitor.get("/spending")
            said = text_of(page)
            assert "Month so far, 2026-11" in said
            assert "CNY Charged ¥7.00 No monthly limit in CNY." in said
            assert "USD Charged $2.00 Running $2.00" in said
            assert "Workspace Default : $4.00 of $8.00 50.0 % used, alert at 80 %" in said
            assert '<progress max="100" value="50.0"' in page.text

    run(main())


@pytest.mark.parametrize(("limit", "is_reached"), [("2.000000000000001", False), ("2", True)])
def test_a_limit_says_when_it_is_reached(limit: str, is_reached: bool, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_usage(tmp_path, [mine("b1")]) as visitor:
            await cap(visitor, limit)
            said = text_of(await visitor.get("/spending"))
            assert ("nothing more is sent this month" in said) is is_reached

    run(main())


def test_without_prices_it_says_how_to_set_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_house, "PRICES", NO_PRICES)

    async def main() -> None:
        async with open_usage(tmp_path, [mine("b1", currency=None)]) as visitor:
            said = text_of(await visitor.get("/spending"))
            assert "No model has a price, so nothing is charged." in said
            assert "batchmill prices --example" in said
            assert "100 tokens had no price" in said
            assert "no price" in text_of(await visitor.get(LIST))
            assert "no limit would be reached" in text_of(await visitor.get("/spending/limits"))

    run(main())


def test_with_prices_and_no_charge_it_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_usage(tmp_path) as visitor:
            for path in ("/spending", LIST):
                said = text_of(await visitor.get(path))
                assert "Nothing is charged yet this month, and there is no limit." in said
                assert "Nothing was charged in this time." in said
                assert "No model has a price" not in said

    run(main())


def test_a_chart_shows_the_largest_five_and_the_others_together(tmp_path: Path) -> None:
    """With the exact amounts in a table; a currency a chart."""
    rows = [mine(f"b{n}", model=f"m{n}", items=priced(n * UNIT + 1)) for n in range(1, 8)]
    rows.append(mine("c1", NOW - DAY, currency="CNY", items=priced(5)))

    async def main() -> None:
        async with open_usage(tmp_path, rows) as visitor:
            page = await visitor.get("/spending")
            charts = charts_of(page)
            assert set(charts) == {"spent-CNY", "spent-USD"}
            values = values_of(charts["spent-USD"])
            assert list(values) == ["m7", "m6", "m5", "m4", "m3", "others"]
            sums = [sum(one or 0 for one in row) for row in values.values()]
            assert sums == pytest.approx([7, 6, 5, 4, 3, 3])
            assert len(charts["spent-USD"]["x"]) == 21
            said = text_of(page)
            assert "7.000000000000001 6.000000000000001" in said
            assert "3.000000000000002 28.000000000000007" in said
            assert "$28.00 $56.00 at list prices" in said
            five = text_of(await visitor.get("/spending?model=m1"))
            assert "others" not in five

    run(main())


def test_five_stand_for_themselves_and_a_sixth_is_the_others(tmp_path: Path) -> None:
    rows = [mine(f"b{n}", model=f"m{n}", items=priced(n * UNIT)) for n in range(1, 6)]

    async def main() -> None:
        async with open_usage(tmp_path, rows) as visitor:
            assert "others" not in values_of(charts_of(await visitor.get("/spending"))["spent-USD"])
            await write_rows(visitor.house.store, [mine("b6", model="m6")])
            assert "others" in values_of(charts_of(await visitor.get("/spending"))["spent-USD"])

    run(main())


def test_what_charts_tell_apart_is_chosen(tmp_path: Path) -> None:
    """Names that two things share are told apart by their ids; what is unknown is the model."""

    async def main() -> None:
        async with open_usage(tmp_path) as visitor:
            keys = visitor.house.services.admin.keys
            one, two = [(await keys.create(Caller(), KeySpec("robot"))).key.id for _ in range(2)]
            rows = [
                mine("b1", key=one, items=priced(3 * UNIT)),
                mine("b2", key=two, items=priced(2 * UNIT)),
                mine("b3", items=priced(1 * UNIT)),
            ]
            await write_rows(visitor.house.store, rows)
            for group, names in {
                "key": ["robot", f"robot ({two})", "without a key"],
                "batch": ["b1", "b2", "b3"],
                "workspace": ["Default"],
                "model": ["qwen-plus"],
                "x": ["qwen-plus"],
            }.items():
                page = await visitor.get(f"/spending?group={group}")
                assert list(values_of(charts_of(page)["spent-USD"])) == names

    run(main())


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ("", "3"),
        ("range=30-days", "7"),
        ("range=12-months", "15"),
        ("range=custom&since=2025-11-30&until=2025-11-30", "16"),
        ("range=custom&since=2025-12-01&until=2025-12-01", "8"),
        ("range=custom&since=2025-11-30", "31"),
        ("range=custom&since=x&until=y", "3"),
    ],
)
def test_a_time_holds_its_first_and_its_last_day(query: str, total: str, tmp_path: Path) -> None:
    """Days are those of UTC; each amount lies at the edge of one of the times."""
    december = NOV - 335 * DAY
    rows = [
        mine("b1", NOV, items=priced(1 * UNIT)),
        mine("b2", NOW, items=priced(2 * UNIT)),
        mine("b3", NOV + 20 * DAY - 29 * DAY, items=priced(4 * UNIT)),
        mine("b4", december, items=priced(8 * UNIT)),
        mine("b5", december - 1, items=priced(16 * UNIT)),
    ]

    async def main() -> None:
        async with open_usage(tmp_path, rows) as visitor:
            assert f"USD: ${total}.00" in text_of(await visitor.get(f"/spending?{query}"))

    run(main())


def test_long_times_are_by_the_month_unless_days_are_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_usage(tmp_path, [mine("b1"), mine("b2", NOW - 90 * DAY)]) as visitor:
            for query, period in {
                "range=30-days": "day",
                "range=12-months": "month",
                "range=12-months&bucket=day": "day",
                "bucket=month": "month",
                "range=custom&since=2026-09-21": "day",
                "range=custom&since=2026-09-20": "month",
            }.items():
                chart = charts_of(await visitor.get(f"/spending?{query}"))["spent-USD"]
                assert chart["period"] == period, query

    run(main())


@pytest.mark.parametrize("is_too_long", [False, True])
def test_a_chart_has_its_most_periods(is_too_long: bool, tmp_path: Path) -> None:
    """More are refused where the chart would stand; the month so far is shown all the same."""
    days = MAX_PERIODS - (0 if is_too_long else 1)
    rows = [mine("b1"), mine("b2", NOW - days * DAY)]

    async def main() -> None:
        async with open_usage(tmp_path, rows) as visitor:
            asked = "/spending?range=custom&since=1971-01-01&bucket=day"
            page = await visitor.get(asked)
            assert page.status_code == (400 if is_too_long else 200)
            assert ("at most 400 periods" in text_of(page)) is is_too_long
            assert len(charts_of(page)) == (not is_too_long)
            assert "USD Charged $2.00" in text_of(page)
            assert (await visitor.get(f"{asked}&view=list")).status_code == 200

    run(main())


def test_line_items_have_the_vendors_columns_and_exact_amounts(tmp_path: Path) -> None:
    items = ((Item.INPUT, 1_234, 4 * UNIT + 2, 2 * UNIT + 1), (Item.THINKING_OUTPUT, 5, 90, 45))

    async def main() -> None:
        async with open_usage(tmp_path, [mine("batch_7", items=items)]) as visitor:
            page = await visitor.get(LIST)
            said = text_of(page)
            assert "2026-11-21 batch_7 qwen-plus 1,234 2.000000000000001 USD" in said
            assert "list price 4.000000000000002 Default —" in said
            assert "0.000000000000045 USD" in said
            assert "input_token_batch inference type: batch" in said
            assert "thinking_output_token_batch" in said
            assert 'href="/console/batches/batch_7"' in page.text

    run(main())


@pytest.mark.parametrize(("count", "pages"), [(50, 1), (51, 2), (120, 3)])
def test_the_list_is_read_page_by_page(count: int, pages: int, tmp_path: Path) -> None:
    rows = [mine(f"batch_{n:03d}", model=f"m{n % 7}") for n in range(count)]

    async def main() -> None:
        async with open_usage(tmp_path, rows) as visitor:
            found: list[str] = []
            path: str | None = LIST
            for number in range(pages):
                assert path is not None
                page = await visitor.get(path)
                found += re.findall(r"/batches/(batch_\d+)", page.text)
                assert (">First</a>" in page.text) is (number > 0)
                link = re.search(r'href="/console([^"]+)" rel="next"', page.text)
                path = None if link is None else unescape(link[1])
            assert path is None
            assert sorted(found) == [f"batch_{n:03d}" for n in range(count)]

    run(main())


def test_a_place_of_another_list_is_told_where_the_list_would_be(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_usage(tmp_path) as visitor:
            page = await visitor.get(f"{LIST}&after=made-up")
            assert page.status_code == 400
            assert "Invalid 'after'" in text_of(page)
            assert "hx-retarget" not in page.headers

    run(main())


def test_regions_are_told_apart_where_there_are_some(tmp_path: Path) -> None:
    rows = [mine("b1", region="eu"), mine("b1", region="us"), mine("b2")]

    async def main() -> None:
        async with open_usage(tmp_path, rows) as visitor:
            said = text_of(await visitor.get(LIST))
            assert "Line item Region" in said
            assert "inference type: batch eu" in said
            page = await visitor.get("/spending?group=region")
            [chart] = charts_of(page).values()
            assert set(values_of(chart)) == {"eu", "us", "without a region"}
            assert "Region" not in text_of(await visitor.get(f"{LIST}&model=none"))

    run(main())


def test_the_table_holds_what_the_list_shows(tmp_path: Path) -> None:
    """All its pages, with its filters, in the bytes of the API's own table."""
    rows = [mine(f"batch_{n:03d}", model=f"m{n % 2}") for n in range(120)]
    rows.append(mine("batch_x", model="=1+1"))

    async def main() -> None:
        async with open_usage(tmp_path, rows) as visitor:
            page = await visitor.get(f"{LIST}&model=m1")
            assert 'href="/console/spending.csv?model=m1" download' in page.text
            answer = await visitor.get("/spending.csv?model=m1")
            assert answer.headers["content-type"].startswith("text/csv")
            assert answer.headers["content-disposition"] == 'attachment; filename="spending.csv"'
            found = list(csv.reader(io.StringIO(answer.text)))
            assert found[0][:5] == ["Billing Month", "Job ID", "Model", "Usage", "Amount"]
            assert [row[1] for row in found[1:]] == [f"batch_{n:03d}" for n in range(1, 120, 2)]
            theirs = await visitor.client.get("/v1/spending?format=csv&bucket=day&model=m1")
            assert answer.content == theirs.content
            assert "'=1+1" in (await visitor.get("/spending.csv")).text
            bad = await visitor.get("/spending.csv?range=custom&since=2026-11-02&until=2026-11-01")
            assert bad.status_code == 400

    run(main())


def test_filters_narrow_trends_and_list_alike(tmp_path: Path) -> None:
    rows = [
        Row("b1", at=NOW - 60, model="qwen-max", items=priced(1 * UNIT)),
        Row("b2", at=NOW - 60, workspace="ws_2", items=priced(2 * UNIT)),
        Row("b3", at=NOW - 60, key="key_2", items=priced(4 * UNIT)),
    ]

    async def main() -> None:
        async with open_usage(tmp_path, rows) as visitor:
            for query, total, batch in (
                ("model=qwen-max", 1, "b1"),
                ("workspace=ws_2", 2, "b2"),
                ("key=key_2", 4, "b3"),
            ):
                asked = f"{query}&account=acme"
                assert f"USD: ${total}.00" in text_of(await visitor.get(f"/spending?{asked}"))
                said = text_of(await visitor.get(f"{LIST}&{asked}"))
                assert [one for one in ("b1", "b2", "b3") if f" {one} qwen" in said] == [batch]
            page = await visitor.get("/spending?account=acme")
            assert 'value="key_2">robot 2' in page.text
            assert 'value="ws_2">Sales' in page.text

    run(main())


def test_another_account_s_batches_are_named_and_not_linked(tmp_path: Path) -> None:
    async def main() -> None:
        rows = [Row("batch_theirs", at=NOW - 60), mine("batch_ours")]
        async with open_usage(tmp_path, rows) as visitor:
            page = await visitor.get(f"{LIST}&account=all")
            assert "batch_theirs" in page.text
            assert 'href="/console/batches/batch_theirs"' not in page.text
            assert 'href="/console/batches/batch_ours"' in page.text
            assert "acme" in text_of(page)
            assert "batch_theirs" not in (await visitor.get(LIST)).text

    run(main())


def test_only_a_time_that_goes_on_is_asked_for_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_usage(tmp_path, [mine("b1")]) as visitor:
            assert "every 30s" in (await visitor.get("/spending")).text
            past = "/spending?range=custom&since=2026-11-01&until=2026-11-20"
            assert "every 30s" not in (await visitor.get(past)).text
            today = "/spending?range=custom&since=2026-11-01&until=2026-11-21"
            assert "every 30s" in (await visitor.get(today)).text
            part = await visitor.renew("/spending?group=batch")
            assert part.text.lstrip().startswith('<section id="live"')

    run(main())


def test_names_are_text_wherever_they_stand(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_usage(tmp_path) as visitor:
            admin = visitor.house.services.admin
            room = await admin.workspaces.create(Caller(), f"w{EVIL}")
            key = (await admin.keys.create(Caller(), KeySpec(f"k{EVIL}'\""))).key
            row = mine("b1", model=f"m{EVIL}", workspace=room.id, key=key.id)
            await write_rows(visitor.house.store, [row])
            spec = CapSpec(Scope.KEY, "1", key.id, "USD")
            await visitor.house.services.accounting.caps.put(Caller(), spec)
            groups = [f"/spending?group={one}" for one in ("model", "workspace", "key")]
            for path in (*groups, LIST, "/spending/limits", f"/spending?model={EVIL}"):
                page = await visitor.get(path)
                assert page.status_code == 200
                assert EVIL not in page.text
                assert "&lt;script&gt;" in page.text

    run(main())


@pytest.mark.parametrize("role", list(Role))
def test_everyone_of_an_account_sees_its_spending_and_nobody_else_s(
    role: Role, tmp_path: Path
) -> None:
    """Limits are for admins: others neither see the way there nor get in."""

    async def main() -> None:
        rows = [mine("b1"), Row("b2", at=NOW - 60, items=priced(3 * UNIT))]
        async with open_usage(tmp_path, rows, needs_keys=True) as visitor:
            await enter(visitor, role)
            page = await visitor.get("/spending")
            assert "USD: $3.00" in text_of(page)
            for theirs in ("default", "all"):
                assert (await visitor.get(f"/spending?account={theirs}")).status_code == 404
                assert (await visitor.get(f"/spending.csv?account={theirs}")).status_code == 404
            is_admin = role is Role.ADMIN
            assert ("Limits and alerts" in text_of(page)) is is_admin
            limits = await visitor.get("/spending/limits")
            assert limits.status_code == (200 if is_admin else 403)

    run(main())


def test_members_of_a_workspace_see_that_workspace_alone(tmp_path: Path) -> None:
    rows = [
        Row("b1", at=NOW - 60, items=priced(3 * UNIT)),
        Row("b2", at=NOW - 60, workspace="ws_2", key="key_2", items=priced(5 * UNIT)),
    ]

    async def main() -> None:
        async with open_usage(tmp_path, rows, needs_keys=True) as visitor:
            caps = visitor.house.services.accounting.caps
            for room in ("ws_1", "ws_2"):
                spec = CapSpec(Scope.WORKSPACE, "50", room, "USD", account="acme")
                await caps.put(Caller(), spec)
            await enter(visitor, Role.MEMBER, "ws_2")
            said = text_of(await visitor.get("/spending"))
            assert "USD: $5.00" in said
            assert "Workspace Sales : $5.00 of $50.00" in said
            assert "Research" not in said
            assert (await visitor.get("/spending?workspace=ws_1")).status_code == 404
            table = (await visitor.get("/spending.csv")).text
            assert "b2" in table
            assert "b1" not in table

    run(main())
