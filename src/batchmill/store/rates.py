"""Requests that were admitted lately, counted over all processes that have the database open.

A row an admitted request, for as long as it is in the window; refused ones
leave none. The rule itself is ``domain.rates``.
"""

# Libraries were looked at: ``limits`` keeps its counts in Redis, Memcached or MongoDB, and
# ``pyrate-limiter`` in a table per account and rule, with connections and a lock file of its own
# beside this database. Neither counts in a transaction of ours, which is all it takes.

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from batchmill.domain.rates import Rate, RateRule, Ruling, judge_rate
from batchmill.store.database import Database
from batchmill.store.tables import rate_events

# Rows that are further ahead than any request waits for its turn were written by a clock that
# has been set back since: they would shut the door until it is as late again.
_AHEAD_SECONDS = 120.0


class SqlRates:
    """See the port RateStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def admit(self, account: str, rule: RateRule, rate: Rate, now: float) -> Ruling:
        """Count a request if it may pass, and rule. A power cut may undo it."""
        own = (rate_events.c.account == account, rate_events.c.rule == rule.value)
        async with self._database.relaxed() as connection:
            await self._database.serialize(connection, "rate", account, rule.value)
            seen = await _see(connection, own)
            if seen.newest is not None and seen.newest > now + max(rate.seconds, _AHEAD_SECONDS):
                await connection.execute(delete(rate_events).where(*own, rate_events.c.at > now))
                seen = await _see(connection, own)
            # A request that waited for the database may come after one that is younger, and is
            # judged as of that one: else the window would have moved on already.
            at = now if seen.newest is None else max(now, seen.newest)
            ruling = await _judge(connection, own, rate, seen, at=at, now=now)
            if ruling.is_admitted:
                row = {"account": account, "rule": rule.value, "at": at}
                await connection.execute(insert(rate_events), [row])
        return ruling

    async def forget(self, before: float) -> int:
        """Delete what was admitted before that time, of whoever never came again."""
        async with self._database.relaxed() as connection:
            old = delete(rate_events).where(rate_events.c.at < before)
            return (await connection.execute(old)).rowcount


@dataclass(frozen=True, slots=True)
class _Seen:
    count: int
    oldest: float | None
    newest: float | None


_Own = tuple[ColumnElement[bool], ...]


async def _see(connection: AsyncConnection, own: _Own) -> _Seen:
    times = rate_events.c.at
    counting = select(func.count(), func.min(times), func.max(times)).where(*own)
    count, oldest, newest = (await connection.execute(counting)).one()
    return _Seen(int(count), oldest, newest)


async def _judge(
    connection: AsyncConnection, own: _Own, rate: Rate, seen: _Seen, *, at: float, now: float
) -> Ruling:
    count, start = seen.count, at - rate.seconds
    if seen.oldest is not None and seen.oldest <= start:
        out = delete(rate_events).where(*own, rate_events.c.at <= start)
        count -= (await connection.execute(out)).rowcount
    leaving = None
    if count >= rate.limit:
        times = select(rate_events.c.at).where(*own).order_by(rate_events.c.at.desc())
        last = times.offset(rate.limit - 1).limit(1)
        leaving = (await connection.execute(last)).scalar_one()
    return judge_rate(rate, admitted=count, newest=seen.newest, leaving=leaving, now=now)
