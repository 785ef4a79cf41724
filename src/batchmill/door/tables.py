"""Usage and spending as tables for spreadsheets: the same for every door.

A bill's first columns are those of the vendor's list. A cell that a
spreadsheet would take for a formula is written with a quote before it: names
are chosen by people other than the reader.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from batchmill.domain.money import text_of
from batchmill.ports import Group, SpendingLine, UsageLine

USAGE_COLUMNS: Final = (
    *("start_time", "account", "model", "workspace", "workspace_name", "key", "key_name", "batch"),
    *("calls", "failures", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
    *("embedding_tokens", "region"),
)
SPENDING_COLUMNS: Final = (
    *("Billing Month", "Job ID", "Model", "Usage", "Amount", "Workspace Name", "API Key"),
    *("Line Item", "Currency", "List Amount", "Start Time", "Account", "Workspace ID"),
    *("API Key ID", "Region"),
)

_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")


def usage_head() -> str:
    """The names of the columns of usage."""
    return _table([USAGE_COLUMNS])


def usage_rows(lines: Iterable[UsageLine]) -> str:
    """Lines of usage as rows."""
    return _table(map(_usage_cells, lines))


def spending_head() -> str:
    """The names of the columns of a bill."""
    return _table([SPENDING_COLUMNS])


def spending_rows(lines: Iterable[SpendingLine]) -> str:
    """Line items as rows."""
    return _table(map(_spending_cells, lines))


def billing_month(group: Group) -> str:
    """The month that a line is charged in, such as ``2026-11``."""
    return f"{_begin(group):%Y-%m}"


def _usage_cells(line: UsageLine) -> Sequence[object]:
    group, usage = line.group, line.usage
    names = (group.account, group.model, group.workspace, group.workspace_name)
    whose = (*names, group.key, group.key_name, group.batch)
    counts = (line.calls, line.failures, usage.input, usage.output, usage.cached, usage.reasoning)
    return (_start(group), *whose, *counts, line.embedding, group.region)


def _spending_cells(line: SpendingLine) -> Sequence[object]:
    group = line.group
    job = (billing_month(group), group.batch, group.model, line.tokens, text_of(line.price))
    whose = (group.workspace_name, group.key_name, line.item.value)
    amounts = (line.currency, text_of(line.list_price), _start(group))
    return (*job, *whose, *amounts, group.account, group.workspace, group.key, group.region)


def _start(group: Group) -> str:
    return f"{_begin(group):%Y-%m-%dT%H:%M:%SZ}"


def _begin(group: Group) -> datetime:
    return datetime.fromtimestamp(group.bucket.start_of(group.period), UTC)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULAS) else text


def _table(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([_cell(one) for one in row] for row in rows)
    return text.getvalue()
