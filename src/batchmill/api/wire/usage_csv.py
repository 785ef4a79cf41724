"""Usage and spending as tables: the same lines as in JSON, for spreadsheets.

A bill's first columns are those of the vendor's list. A cell that a
spreadsheet would take for a formula is written with a quote before it: names
are chosen by people other than the reader.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from batchmill.api.wire.usage import SpendingObject, UsageObject

USAGE_COLUMNS: Final = (
    *("start_time", "account", "model", "workspace", "workspace_name", "key", "key_name", "batch"),
    *("calls", "failures", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
    "embedding_tokens",
)
SPENDING_COLUMNS: Final = {
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
}

_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")


def usage_head() -> str:
    """The names of the columns of usage."""
    return _table([USAGE_COLUMNS])


def usage_rows(lines: Iterable[UsageObject]) -> str:
    """Lines of usage as rows."""
    return _table(_cells(line, USAGE_COLUMNS) for line in lines)


def spending_head() -> str:
    """The names of the columns of a bill."""
    return _table([tuple(SPENDING_COLUMNS)])


def spending_rows(lines: Iterable[SpendingObject]) -> str:
    """Line items as rows."""
    return _table(_cells(line, tuple(SPENDING_COLUMNS.values())) for line in lines)


def _cells(line: UsageObject | SpendingObject, names: Sequence[str]) -> Sequence[str]:
    return [_cell(name, getattr(line, name)) for name in names]


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if name == "start_time" and isinstance(value, int):
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%dT%H:%M:%SZ}"
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULAS) else text


def _table(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()
