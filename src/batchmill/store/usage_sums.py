"""The statements of usage and spending: sums over the ledger and the meters.

A shard has a row in one of the two tables, and each question is one statement,
so that no shard is ever counted twice or missed. Periods are whole-number
arithmetic on the rows' hour, which every database does alike.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    Subquery,
    Table,
    and_,
    case,
    func,
    literal,
    select,
    tuple_,
    union_all,
)

from batchmill.domain.ledger import EMBEDDINGS
from batchmill.domain.periods import HOUR, Bucket
from batchmill.ports import Dimension, UsageFilter, UsageQuery
from batchmill.store.money import MONEY_COLUMNS, money_sums
from batchmill.store.tables import api_keys, batches, ledger, ledger_items, meters, workspaces

RUNNING = "running"
BILLED = ("currency", "item")
COLUMN_OF = {
    Dimension.MODEL: "model",
    Dimension.WORKSPACE: "workspace",
    Dimension.KEY: "key_id",
    Dimension.BATCH: "batch_id",
    Dimension.REGION: "region",
}

_COUNTS = (
    *("calls", "failures", "rejections", "millis"),
    *("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
)
_ENTRY = ("batch_id", "position", "model", "region")


def usage_sums(query: UsageQuery) -> Select[Any]:
    """A page of usage; one line more than the limit."""
    rows = union_all(*(_used(table, query) for table in (ledger, meters))).subquery("used")
    sums = [func.sum(rows.c[name]).label(name) for name in (*_COUNTS, "embedding_tokens")]
    return _page(rows, query, sums)


def spending_sums(query: UsageQuery) -> Select[Any]:
    """A page of line items; one line more than the limit."""
    rows = _charged(query).subquery("charged")
    sums = [func.sum(rows.c.tokens).label("tokens"), *money_sums(rows)]
    return _page(rows, query, sums, *BILLED)


def busy_spans(where: UsageFilter) -> Select[Any]:
    """When each batch began with each of its models, and was last heard of."""
    names = ("model", "workspace", "batch_id", "at")
    rows = _either(where, names, running=where).subquery("heard")
    began = func.coalesce(batches.c.in_progress_at, batches.c.created_at)
    keys = [rows.c.model, rows.c.workspace, rows.c.batch_id]
    ends = [func.min(began).label("begun_at"), func.max(rows.c.at).label("last_at")]
    joined = select(*keys, *ends).join_from(rows, batches, batches.c.id == rows.c.batch_id)
    return joined.group_by(*keys).order_by(*keys)


def spent_sums(where: UsageFilter) -> Select[Any]:
    """Prices by whose they are, and by whether their shards still run."""
    names = ("account", "workspace", "key_id", "currency", *MONEY_COLUMNS)
    # A shard that runs is charged when it closes, whenever it was last heard of.
    rows = _either(where, names, running=replace(where, since=0.0)).subquery("priced")
    keys = [rows.c[name] for name in (RUNNING, *names[:4])]
    priced = select(*keys, *money_sums(rows)).where(rows.c.currency.is_not(None))
    return priced.group_by(*keys).order_by(*keys)


def output_sums(model: str, account: str | None, since: float) -> Select[Any]:
    """Output tokens and successful lines of closed shards."""
    own = [] if account is None else [ledger.c.account == account]
    recent = [ledger.c.hour >= int(since // HOUR), ledger.c.at >= since]
    return select(
        func.sum(ledger.c.output_tokens).label("tokens"),
        func.sum(ledger.c.calls - ledger.c.failures).label("lines"),
    ).where(*own, *recent, ledger.c.model == model)


def period_of(bucket: Bucket, hour: ColumnElement[int]) -> ColumnElement[int]:
    """``Bucket.number_of`` in SQL. Months are counted in years that begin in March."""
    if bucket is Bucket.HOUR:
        return hour
    day: ColumnElement[int] = hour // 24
    if bucket is Bucket.DAY:
        return day
    day = day + 671  # since the first of March 1968
    year: ColumnElement[int] = (day * 4 + 3) // 1461
    day_of_year = day - (year * 1461) // 4
    return year * 12 + (day_of_year * 5 + 2) // 153 + 2


def _used(table: Table, query: UsageQuery) -> Select[Any]:
    is_embedding = batches.c.endpoint == EMBEDDINGS
    embedding = case((is_embedding, table.c.input_tokens), else_=0).label("embedding_tokens")
    return (
        select(*_keys(table, query), *(table.c[name] for name in _COUNTS), embedding)
        .join_from(table, batches, batches.c.id == table.c.batch_id)
        .where(*_conditions(table, query.where), *_onwards(table, query))
    )


def _charged(query: UsageQuery) -> Select[Any]:
    currency = func.coalesce(ledger.c.currency, "").label("currency")
    items = [ledger_items.c[name] for name in ("item", "tokens", *MONEY_COLUMNS)]
    is_of_entry = and_(*(ledger.c[name] == ledger_items.c[name] for name in _ENTRY))
    return (
        select(*_keys(ledger, query), currency, *items)
        .join_from(ledger, ledger_items, is_of_entry)
        .where(*_conditions(ledger, query.where), *_onwards(ledger, query))
    )


def _either(
    closed: UsageFilter, names: Sequence[str], *, running: UsageFilter
) -> CompoundSelect[Any]:
    """Columns of the rows of both tables, and whether a row is of a shard that runs."""
    arms = [
        select(literal(kind).label(RUNNING), *(table.c[name] for name in names)).where(
            *_conditions(table, where)
        )
        for kind, (table, where) in enumerate(((ledger, closed), (meters, running)))
    ]
    return union_all(*arms)


def _keys(table: Table, query: UsageQuery) -> list[ColumnElement[Any]]:
    """What tells lines apart, under the names of its columns; a key that is none is empty."""
    named = [table.c[COLUMN_OF[dimension]] for dimension in query.group_by]
    period = period_of(query.bucket, table.c.hour).label("period")
    return [
        period,
        table.c.account,
        *(func.coalesce(column, "").label(column.name) for column in named),
    ]


def _conditions(table: Table, where: UsageFilter) -> list[ColumnElement[bool]]:
    """The hour is what the indexes know; within the first and the last one ``at`` decides."""
    c = table.c
    chosen = {
        c.model: where.models,
        c.workspace: where.workspaces,
        c.key_id: where.keys,
        c.batch_id: where.batches,
    }
    return [
        *([] if where.account is None else [c.account == where.account]),
        c.hour.between(int(where.since // HOUR), int(where.until // HOUR)),
        c.at >= where.since,
        c.at < where.until,
        *(column.in_(values) for column, values in chosen.items() if values),
    ]


def _onwards(table: Table, query: UsageQuery) -> list[ColumnElement[bool]]:
    """Skips periods that earlier pages are through with."""
    if query.after is None:
        return []
    return [table.c.hour >= int(query.bucket.start_of(query.after.period) // HOUR)]


def place_names(query: UsageQuery, *more: str) -> tuple[str, ...]:
    """The columns that a line's place is made of, behind its period."""
    return ("account", *(COLUMN_OF[dimension] for dimension in query.group_by), *more)


def _page(
    rows: Subquery, query: UsageQuery, sums: Sequence[ColumnElement[Any]], *more: str
) -> Select[Any]:
    """The lines behind the place that the query names, in the order of their places."""
    names = ("period", *place_names(query, *more))
    keys = [rows.c[name] for name in names]
    page = select(*keys, *sums).group_by(*keys).order_by(*keys).limit(query.limit + 1)
    if query.after is not None:
        page = page.where(tuple_(*keys) > tuple_(query.after.period, *query.after.names))
    lines = page.subquery("page")
    return _with_names(lines, query).order_by(*(lines.c[name] for name in names))


def _with_names(lines: Subquery, query: UsageQuery) -> Select[Any]:
    """The lines, and what their workspaces and keys are called."""
    named = select(lines)
    for dimension, table, label in (
        (Dimension.WORKSPACE, workspaces, "workspace_name"),
        (Dimension.KEY, api_keys, "key_name"),
    ):
        if dimension in query.group_by:
            is_of_line = table.c.id == lines.c[COLUMN_OF[dimension]]
            named = named.add_columns(table.c.name.label(label)).outerjoin(table, is_of_line)
    return named
