"""Hours, days and months: in Python and in SQL alike."""

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import BigInteger, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.domain.periods import HOUR, LATEST, Bucket
from batchmill.store.usage_sums import period_of


def spelled(bucket: Bucket, dialect: Any) -> str:
    statement = select(period_of(bucket, literal_column("hour", type_=BigInteger())))
    return str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


@pytest.mark.parametrize("bucket", list(Bucket))
def test_sql_numbers_periods_as_the_domain_does(bucket: Bucket) -> None:
    """Every day until the arithmetic ends, at its first and its last hour."""
    hours = [day * 24 + part for day in range(int(LATEST // 86_400)) for part in (0, 23)]
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (hour INTEGER)")
    connection.executemany("INSERT INTO t VALUES (?)", [(hour,) for hour in hours])
    found = connection.execute(f"{spelled(bucket, sqlite.dialect())} FROM t ORDER BY hour")
    assert [row[0] for row in found] == [bucket.number_of(hour * HOUR) for hour in hours]
    connection.close()


@pytest.mark.parametrize("bucket", list(Bucket))
def test_postgresql_is_asked_for_whole_numbers(bucket: Bucket) -> None:
    """No function that only one database has, and no division that leaves a fraction."""
    text = spelled(bucket, postgresql.dialect())  # type: ignore[no-untyped-call]
    assert "FLOOR" not in text.upper()
    assert set(text.removeprefix("SELECT").lower()) <= set("hour0123456789+-*/() as_n1\n")


@given(at=st.floats(0, LATEST - 1), bucket=st.sampled_from(Bucket))
def test_a_time_lies_in_the_period_of_its_number(at: float, bucket: Bucket) -> None:
    """Periods join without a gap."""
    number = bucket.number_of(at)
    assert bucket.start_of(number) <= at < bucket.end_of(number)
    assert bucket.end_of(number) == bucket.start_of(number + 1)


def test_months_are_those_of_the_calendar() -> None:
    """February of a leap year, the turn of a year, and the last instant of a month."""
    for begin, end in (
        (datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
    ):
        number = Bucket.MONTH.number_of(begin.timestamp())
        last = (end - timedelta(microseconds=1)).timestamp()
        assert Bucket.MONTH.number_of(last) == number
        assert Bucket.MONTH.number_of(end.timestamp()) == number + 1
        assert Bucket.MONTH.start_of(number) == begin.timestamp()
