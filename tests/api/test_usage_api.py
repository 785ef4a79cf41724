"""Usage, spending and monitoring over HTTP: what is answered, and to whom."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_house import House, as_object, fault, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from usage_house import NOW, opened
from usage_rows import DAY, HOUR, NOV, UNIT, Row, some_rows

from batchmill.api.instants import read_instant
from batchmill.domain.errors import InvalidRequest
from batchmill.domain.pricing import Item
from batchmill.domain.usage import Usage


async def ask(house: House, path: str, who: str = "admin", **params: Any) -> httpx2.Response:
    return await house.client.get(f"/v1/{path}", params=params, headers={"x-who": who})


async def lines(house: House, path: str, who: str = "admin", **params: Any) -> list[dict[str, Any]]:
    answer = await ask(house, path, who, **params)
    assert answer.status_code == 200, answer.text
    return list(as_object(answer)["data"])


TWO = (
    Row("b1", at=NOV + HOUR, model="qwen-max"),
    Row("b2", at=NOW - 5, workspace="ws_2", key="key_2", running=True, calls=7),
    Row("b3", at=NOV - HOUR, calls=1000),
    Row("b4", at=NOV + HOUR, account="rival", workspace="ws_3", key=None, calls=500),
)


def test_usage_is_of_this_month_by_day_and_model(tmp_path: Path) -> None:
    """With what runs at this moment; the month before is there where it is asked for."""

    async def main() -> None:
        async with opened(tmp_path, TWO) as house:
            page = as_object(await ask(house, "usage"))
            assert (page["start_time"], page["bucket"]) == (NOV, "day")
            assert page["group_by"] == ["model"]
            first, second = page["data"]
            assert first["start_time"] == NOV
            assert first["end_time"] == NOV + DAY
            assert (first["model"], first["calls"], first["failures"]) == ("qwen-max", 10, 1)
            assert (second["model"], second["calls"]) == ("qwen-plus", 7)
            assert second["start_time"] <= NOW < second["end_time"]
            assert first["workspace"] is first["key"] is first["batch"] is None
            older = await lines(house, "usage", start_time="2026-10", end_time="2026-11")
            assert [one["calls"] for one in older] == [1000]
            assert [one["calls"] for one in await lines(house, "usage", end_time="2026-11-01")] == [
                1000
            ]

    run(main())


def test_spending_is_of_closed_shards_an_item_a_line(tmp_path: Path) -> None:
    """With everything that the vendor's list names, and amounts to the last digit."""
    items = (
        (Item.INPUT, 100, 4 * UNIT + 2, 2 * UNIT + 1),
        (Item.THINKING_OUTPUT, 50, 10, 5),
    )
    rows = [Row("b1", at=NOV + HOUR, items=items), Row("b2", at=NOW, running=True)]

    async def main() -> None:
        async with opened(tmp_path, rows) as house:
            first, second = await lines(house, "spending")
            assert first["line_item"] == "input_token_batch"
            assert (first["usage"], first["currency"]) == (100, "USD")
            assert (first["price"], first["list_price"]) == (
                "2.000000000000001",
                "4.000000000000002",
            )
            assert second["line_item"] == "thinking_output_token_batch"
            assert second["price"] == "0.000000000000005"
            assert first["billing_month"] == "2026-11"
            assert (first["batch"], first["model"]) == ("b1", "qwen-plus")
            assert (first["workspace_name"], first["key_name"]) == ("Research", "robot 1")

    run(main())


def test_the_summary_says_how_the_month_stands(tmp_path: Path) -> None:
    """Charged and running apart, and each limit with what counts against it."""
    rows = [
        Row("b1", at=NOV + HOUR),
        Row("b2", at=NOV - 40 * DAY, running=True),
        Row("b3", at=NOV - 1),
        Row("b4", at=NOW, workspace="ws_2", key="key_2", currency="CNY"),
    ]
    cap = {"scope": "key", "id": "key_1", "limit": "8", "alert_percent": 80}

    async def main() -> None:
        async with opened(tmp_path, rows) as house:
            set_ = await house.client.post("/v1/admin/caps", json=cap, headers={"x-who": "admin"})
            assert set_.status_code == 200, set_.text
            summary = as_object(await ask(house, "spending"))["summary"]
            assert summary["month"] == "2026-11"
            assert summary["charged"] == [
                {"currency": "CNY", "amount": "2"},
                {"currency": "USD", "amount": "2"},
            ]
            assert {"currency": "USD", "amount": "2"} in summary["running"]
            (limit,) = summary["limits"]
            assert (limit["id"], limit["currency"], limit["limit"]) == ("key_1", "USD", "8")
            assert (limit["charged"], limit["running"], limit["percent"]) == ("2", "2", 50.0)
            theirs = as_object(await ask(house, "spending", "sales"))["summary"]
            assert theirs["charged"] == [{"currency": "CNY", "amount": "2"}]
            assert theirs["limits"] == []

    run(main())


def test_a_table_holds_what_the_json_holds(tmp_path: Path) -> None:
    """By the query or the header; a page of it where a limit is given, else all of it."""
    rows = [
        Row(f"b{n}", at=NOV + n * HOUR, model=f"m{n}", region=("", "eu")[n % 2])
        for n in range(1, 5)
    ]

    async def main() -> None:
        async with opened(tmp_path, rows) as house:
            for path, columns in (("usage", USAGE), ("spending", SPENDING)):
                expected = [
                    [shown(name, one[name]) for name in columns.values()]
                    for one in await lines(house, path)
                ]
                assert len(expected) == 4
                for answer in (
                    await ask(house, path, format="csv"),
                    await house.client.get(f"/v1/{path}", headers={"accept": "text/csv"}),
                ):
                    assert answer.headers["content-type"].startswith("text/csv")
                    assert table(answer) == [list(columns), *expected]
                answer = await ask(house, path, format="csv", limit=3)
                assert table(answer)[1:] == expected[:3]
                assert answer.headers["x-has-more"] == "true"
                after = answer.headers["x-next-after"]
                answer = await ask(house, path, format="csv", limit=3, after=after)
                assert table(answer)[1:] == expected[3:]
                assert answer.headers["x-has-more"] == "false"

    run(main())


def test_usage_and_spending_can_be_told_apart_by_region(tmp_path: Path) -> None:
    """What no region is named of stands under none; and each is charged for its own."""
    rows = [
        Row("b1", at=NOV + HOUR, region="eu", calls=1),
        Row("b1", at=NOV + HOUR, region="us", calls=20),
        Row("b2", at=NOV + HOUR, region="eu", calls=300, running=True),
        Row("b3", at=NOV + HOUR, calls=4_000),
    ]

    async def main() -> None:
        async with opened(tmp_path, rows) as house:
            found = await lines(house, "usage", group_by="region")
            calls = [(one["region"], one["calls"]) for one in found]
            assert calls == [(None, 4_000), ("eu", 301), ("us", 20)]
            found = await lines(house, "spending", group_by="region")
            prices = [(one["region"], one["price"]) for one in found]
            assert prices == [(None, "2"), ("eu", "2"), ("us", "2")]
            [whole] = await lines(house, "spending", group_by="none")
            assert (whole["region"], whole["price"]) == (None, "6")

    run(main())


USAGE = {
    name: name
    for name in (
        *("start_time", "account", "model", "workspace", "workspace_name", "key", "key_name"),
        *("batch", "calls", "failures", "input_tokens", "output_tokens", "cached_tokens"),
        *("reasoning_tokens", "embedding_tokens", "region"),
    )
}
SPENDING = {
    "Billing Month": "billing_month",
    "Job ID": "batch",
    "Model": "model",
    "Usage": "usage",
    "Amount": "price",
    "Workspace Name": "workspace_name",
    "API Key": "key_name",
    "Line Item": "line_item",
    "Currency": "currency",
    "List Amount": "list_price",
    "Start Time": "start_time",
    "Account": "account",
    "Workspace ID": "workspace",
    "API Key ID": "key",
    "Region": "region",
}


def shown(name: str, value: Any) -> str:
    if name == "start_time":
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return "" if value is None else str(value)


def table(answer: httpx2.Response) -> list[list[str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.reader(io.StringIO(answer.text)))


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    """A spreadsheet would run what another chose for a name."""
    rows = [Row("b1", at=NOV + HOUR, model="=1+1"), Row("b2", at=NOV + HOUR, model="@x")]

    async def main() -> None:
        async with opened(tmp_path, rows) as house:
            models = [row[2] for row in table(await ask(house, "spending", format="csv"))[1:]]
            assert models == ["'=1+1", "'@x"]

    run(main())


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=some_rows(), bucket=st.sampled_from(["hour", "day", "month"]))
def test_pages_join_to_what_the_rows_cost(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], bucket: str
) -> None:
    """To the last digit, in every currency for itself."""

    async def main() -> None:
        async with opened(tmp_path_factory.mktemp("house"), rows) as house:
            found: list[dict[str, Any]] = []
            asked: dict[str, Any] = {
                "start_time": "0",
                "end_time": "2099-01-01",
                "bucket": bucket,
                "limit": 3,
            }
            page: dict[str, Any] = {"next_after": ""}
            while page["next_after"] is not None:
                answer = await ask(house, "spending", **asked, after=page["next_after"])
                page = as_object(answer)
                assert page["has_more"] == (page["next_after"] is not None)
                found += page["data"]
            for currency in ("USD", "CNY", None):
                of_currency = [one for one in found if one["currency"] == currency]
                price = sum((Decimal(one["price"]) for one in of_currency), Decimal(0))
                rows_of = [r for r in rows if r.currency == currency and not r.running]
                assert price.scaleb(15) == sum(row.price for row in rows_of)

    run(main())


def test_a_cursor_is_good_for_its_question_alone(tmp_path: Path) -> None:
    """Neither for another one, nor when it was made up."""
    rows = [Row(f"b{n}", at=NOV + n * HOUR) for n in range(3)]

    async def main() -> None:
        async with opened(tmp_path, rows) as house:
            page = as_object(await ask(house, "usage", bucket="hour", limit=1))
            good = page["next_after"]
            asked: dict[str, Any] = {"bucket": "hour", "limit": 1, "after": good}
            assert (await ask(house, "usage", **asked)).status_code == 200
            wrongs: tuple[dict[str, Any], ...] = (
                {"bucket": "day"},
                {"group_by": "batch"},
                {"group_by": "none"},
                {"after": "x"},
                {"after": good[:-4]},
                {"after": "é"},
                {"after": "WyJob3VyIG1vZGVsIiwxLFsiXHUwMDAwIiwiIl1d"},
                {"after": "A" * 60_000},
            )
            for wrong in wrongs:
                answer = await ask(house, "usage", **{**asked, **wrong})
                assert answer.status_code == 400, wrong
                assert fault(answer)["code"] == "invalid_cursor"

    run(main())


SEEN: dict[tuple[str, tuple[str, ...]], Any] = {
    # who, and what they name: the calls that they see
    ("admin", ()): {10, 7},
    ("looker", ()): {10, 7},
    ("sales", ()): {7},
    ("rival", ()): {500},
    ("operator", ()): set(),
    ("operator", ("account", "acme")): {10, 7},
    ("operator", ("account", "all")): {10, 7, 500},
    ("admin", ("account", "acme")): {10, 7},
    ("sales", ("account", "acme")): {7},
    ("sales", ("workspace", "ws_2")): {7},
    ("sales", ("key", "key_1")): set(),
    ("sales", ("batch", "b1")): set(),
    ("admin", ("batch", "b4")): set(),
    ("admin", ("workspace", "ws_3")): set(),
    ("admin", ("account", "rival")): 404,
    ("admin", ("account", "all")): 404,
    ("rival", ("account", "acme")): 404,
    ("sales", ("account", "rival")): 404,
    ("sales", ("account", "all")): 404,
    ("sales", ("workspace", "ws_1")): 404,
    ("operator", ("account", "nobody")): 404,
}


@pytest.mark.parametrize(("who", "named"), list(SEEN))
def test_everyone_sees_their_own(who: str, named: tuple[str, ...], tmp_path: Path) -> None:
    """The account from its default workspace, else the workspace; the operator whom they name."""
    expected = SEEN[who, named]
    params: dict[str, Any] = {named[0]: named[1]} if named else {}

    async def main() -> None:
        async with opened(tmp_path, TWO) as house:
            for path in ("usage", "monitoring", "spending"):
                answer = await ask(house, path, who, start_time="2026-11-01", **params)
                if expected == 404:
                    assert answer.status_code == 404, path
                elif path == "usage":
                    assert {one["calls"] for one in as_object(answer)["data"]} == expected
                elif path == "monitoring":  # where accounts are one
                    calls = [one["calls"] for one in as_object(answer)["data"]]
                    assert sum(calls) == sum(expected)
                else:
                    months = as_object(answer)["data"]
                    assert {one["batch"] for one in months} == {
                        {10: "b1", 500: "b4"}[calls] for calls in expected - {7}
                    }

    run(main())


def test_monitoring_tells_how_models_did(tmp_path: Path) -> None:
    """The last day by the hour; throughput is over the time in which there were calls."""
    shared: dict[str, Any] = {"calls": 30, "failures": 3, "rejections": 4, "millis": 60_000}
    rows = [
        Row("b1", at=NOW - HOUR, usage=Usage(100, 20), **shared),
        Row("b2", at=NOW - HOUR + 30, usage=Usage(100, 20), running=True, **shared),
        Row("b3", at=NOW - 2 * DAY, calls=999),
        Row("b4", at=NOW - HOUR, model="other", workspace="ws_2"),
    ]

    async def main() -> None:
        async with opened(tmp_path, rows) as house:
            page = as_object(await ask(house, "monitoring"))
            assert (page["bucket"], page["end_time"] - page["start_time"]) == ("hour", DAY)
            other, plus = page["data"]
            assert (other["model"], plus["model"]) == ("other", "qwen-plus")
            assert (plus["calls"], plus["failures"], plus["rejections"]) == (60, 6, 8)
            assert (plus["failure_rate"], plus["average_duration"]) == (0.1, 2.0)
            assert plus["total_tokens"] == 240
            # b1 began 60 s before its last word, b2 30 s after that: 90 s with their overlap once
            assert plus["calls_per_minute"] == pytest.approx(40.0)
            assert plus["tokens_per_minute"] == pytest.approx(160.0)
            assert plus["workspace"] is None
            (bucket,) = plus["buckets"]
            assert (bucket["calls"], bucket["tokens"]) == (60, 240)
            by_room = await lines(house, "monitoring", group_by="workspace")
            assert {(one["model"], one["workspace"]) for one in by_room} == {
                ("other", "ws_2"),
                ("qwen-plus", "ws_1"),
            }

    run(main())


@pytest.mark.parametrize(("days", "status"), [(30, 200), (30 + 1 / DAY, 400)])
def test_monitoring_looks_at_thirty_days(days: float, status: int, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as house:
            since = int(NOV - days * DAY)
            answer = await ask(house, "monitoring", start_time=since, end_time=int(NOV))
            assert answer.status_code == status
            if status == 400:
                assert "30 days" in fault(answer)["message"]
            else:
                assert as_object(answer)["bucket"] == "day"

    run(main())


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"start_time": "yesterday"}, "start_time"),
        ({"start_time": "2026-12", "end_time": "2026-11"}, "start_time"),
        ({"start_time": "2026-11", "end_time": "2026-11"}, "start_time"),
        ({"end_time": "2101-01-01"}, "end_time"),
        ({"bucket": "week"}, "bucket"),
        ({"group_by": "user"}, "group_by"),
        ({"limit": 0}, "limit"),
        ({"limit": 10_001}, "limit"),
        ({"format": "xml"}, "format"),
        ({"account": "a\0"}, "account"),
        ({"model": "a\0"}, "model"),
    ],
)
def test_what_cannot_be_asked_is_said(params: dict[str, Any], param: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as house:
            for path in ("usage", "spending"):
                answer = await ask(house, path, **params)
                assert answer.status_code == 400
                assert fault(answer)["param"] == param

    run(main())


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("0", 0),
        ("1793491200", NOV),
        ("2026-11", NOV),
        ("2026-11-01", NOV),
        ("20261101", NOV),
        ("20261101000000", NOV),
        ("2026-11-01T00:00:00", NOV),
        ("2026-11-01T00:00:00Z", NOV),
        ("2026-11-01T02:00:00+02:00", NOV),
        ("2100-01-01", 4_102_444_800),
    ],
)
def test_a_time_is_read_in_many_spellings(text: str, at: float) -> None:
    assert read_instant(text, "start_time") == at
    assert read_instant("", "start_time") is read_instant(None, "start_time") is None


@pytest.mark.parametrize(
    "text", ["-1", "4102444801", "2100-01-01T00:00:01Z", "2026-13", "1e9", "²", "9" * 99]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_instant(text, "end_time")
    assert refused.value.param == "end_time"
