"""Databases full of rows that no server has written: every table, every type, whatever fits."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import Column, Double, Integer, LargeBinary, Table

from batchmill.store.tables import Words, api_keys, batches
from batchmill.store.transfer import MOVED

Rows = Mapping[str, list[dict[str, Any]]]

MOST_ROWS = 4
WORDS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)


def values_of(column: Column[Any]) -> st.SearchStrategy[Any]:
    """Whatever the column may hold."""
    kind = column.type
    values: st.SearchStrategy[Any]
    if isinstance(kind, Words):
        values = WORDS
    elif isinstance(kind, Double):
        values = st.floats(allow_nan=False)
    elif isinstance(kind, LargeBinary):
        values = st.binary(max_size=40)
    else:
        bits = 31 if type(kind) is Integer else 63
        values = st.integers(-(2**bits), 2**bits - 1)
    return st.none() | values if column.nullable else values


@st.composite
def a_row(draw: st.DrawFn, table: Table, number: int, parents: Rows) -> dict[str, Any] | None:
    """A row; None where a table that it points at is empty. What must be unique has a number."""
    row: dict[str, Any] = {}
    for column in table.columns:
        key = next(iter(column.foreign_keys), None)
        if column.name == "seq":
            row["seq"] = number * draw(st.integers(1, 10**6)) + number
        elif key is not None:
            if not parents[key.column.table.name]:
                return None
            row[column.name] = draw(st.sampled_from(parents[key.column.table.name]))["id"]
        else:
            row[column.name] = draw(values_of(column))
    return row | _unique(table, row, number)


def _unique(table: Table, row: Mapping[str, Any], number: int) -> dict[str, Any]:
    if "id" in table.c and table.name != "leadership":
        own = {"id": f"{number} {row['id']}"}
        own |= {"prefix": f"{number}"} if table is api_keys else {}
        own |= {"idempotency_key": f"{number}"} if table is batches else {}
        return own
    names = [column.name for column in table.primary_key if column.name != "seq"]
    last = names[-1] if names else None
    if last is None:
        return {}
    return {last: number if isinstance(row[last], int) else f"{number} {row[last]}"}


@st.composite
def databases(draw: st.DrawFn) -> Rows:
    """The rows of a whole database by table."""
    found: dict[str, list[dict[str, Any]]] = {}
    for table in MOVED:
        drawn = [draw(a_row(table, n + 1, found)) for n in range(draw(st.integers(0, MOST_ROWS)))]
        rows = {row.get("seq", n): row for n, row in enumerate(drawn) if row}
        found[table.name] = list(rows.values())
    return found
