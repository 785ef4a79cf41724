"""Requests that were admitted lately, counted over all processes that have the database open.

A row an admitted request, for as long as it is in the window; refused ones
leave none. The rule itself is ``domain.rates``.
"""

# Libraries were looked at: ``limits`` keeps its counts in Redis, Memcached or MongoDB, and
# ``pyrate-limiter`` in a table per account and rule, with connections and a lock file of its own
# beside this database. Neither counts in a transaction of ours, which is all it takes.

from typing import Any

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
            await self._database.serialize(connection, account)
            ahead = rate_events.c.at > now + max(rate.seconds, _AHEAD_SECONDS)
            await connection.execute(delete(rate_events).where(*own, ahead))
            ruling, at = await _judge(connection, own, rate, now)
            if ruling.is_admitted:
                row = {"account": account, "rule": rule.value, "at": at}
                await connection.execute(insert(rate_events), [row])
        return ruling


async def _judge(
    connection: AsyncConnection, own: tuple[ColumnElement[bool], ...], rate: Rate, now: float
) -> tuple[Ruling, float]:
    """The ruling, and the moment for which it was made.

    A request that waited for the database may come after one that is younger.
    It is judged as of that one: else the window would have moved on already.
    """
    newest = await _one(connection, select(func.max(rate_events.c.at)).where(*own))
    at = now if newest is None else max(now, newest)
    await connection.execute(delete(rate_events).where(*own, rate_events.c.at <= at - rate.seconds))
    counting = select(func.count()).select_from(rate_events).where(*own)
    admitted = int(await _one(connection, counting) or 0)
    leaving = None
    if admitted >= rate.limit:
        times = select(rate_events.c.at).where(*own).order_by(rate_events.c.at.desc())
        leaving = await _one(connection, times.offset(rate.limit - 1).limit(1))
    ruling = judge_rate(rate, admitted=admitted, newest=newest, leaving=leaving, now=now)
    return ruling, at


async def _one(connection: AsyncConnection, statement: Any) -> float | None:
    found: float | None = (await connection.execute(statement)).scalar_one_or_none()
    return found
