"""The four spellings of a time, in the operator's zone."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from batchmill.api.times import read_after, read_before
from batchmill.domain.errors import InvalidRequest

SHANGHAI = timezone(timedelta(hours=8))


@pytest.mark.parametrize("text", ["20250306123000", "2025-03-06 12:30:00"])
def test_a_time_is_read_in_the_zone(text: str) -> None:
    utc = datetime(2025, 3, 6, 12, 30, tzinfo=UTC).timestamp()
    assert read_after(text, UTC) == utc
    assert read_after(text, SHANGHAI) == utc - 8 * 3600


@pytest.mark.parametrize("text", ["2025-03-06", "20250306"])
def test_a_day_begins_at_its_midnight(text: str) -> None:
    assert read_after(text, UTC) == datetime(2025, 3, 6, tzinfo=UTC).timestamp()


def test_before_includes_its_whole_second_and_nothing_of_the_next() -> None:
    second = datetime(2025, 3, 6, tzinfo=UTC).timestamp()
    last = read_before("20250306", UTC)
    assert last is not None
    assert second + 0.999 < last < second + 1


@pytest.mark.parametrize("text", [None, ""])
def test_no_time_is_no_bound(text: str | None) -> None:
    assert read_after(text, UTC) is None
    assert read_before(text, UTC) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "yesterday",
            "2025",
            "202503061230",
            "20251301",
            "20250230",
            "2025-3-6",
            "99999999999999",
        ),
        *("2025-03-06T12:30:00", "2025-03-06 12:30:60", "20250306 ", "٢٠٢٥٠٣٠٦", "00000101"),
    ],
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    for read, param in ((read_after, "create_after"), (read_before, "create_before")):
        with pytest.raises(InvalidRequest) as refused:
            read(text, UTC)
        assert refused.value.param == param
