"""What the client verbs print: tables for people, plain lines for pipes, JSON for scripts.

Words that come from a server are printed without their control characters:
a file's name must not move the cursor.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from batchmill.cli.client_http import decode
from batchmill.cli.client_model import Batch, Fault, File, printable
from batchmill.cli.streams import plural
from batchmill.domain.money import UNITS, parse_amount, rounded

_STYLES: Final = {
    "completed": "green",
    "failed": "red",
    "expired": "red",
    "cancelled": "yellow",
    "cancelling": "yellow",
}
BATCH_COLUMNS: Final = ("id", "status", "done", "failed", "total", "created", "name")
FILE_COLUMNS: Final = ("id", "purpose", "bytes", "created", "filename")


def print_json(*objects: bytes) -> None:
    """A line an object."""
    for each in objects:
        typer.echo(msgspec.json.format(each, indent=-1))


def show_time(seconds: float) -> str:
    """A time in the zone of this machine, with its offset."""
    return str(datetime.fromtimestamp(int(seconds), UTC).astimezone())


def batch_row(batch: Batch) -> tuple[str, ...]:
    """The cells of BATCH_COLUMNS."""
    counts = batch.counts
    numbers = (counts.completed + counts.failed, counts.failed, counts.total)
    return (
        batch.id,
        batch.status,
        *map(str, numbers),
        show_time(batch.created_at),
        batch.name,
    )


def file_row(file: File) -> tuple[str, ...]:
    """The cells of FILE_COLUMNS."""
    return (file.id, file.purpose, str(file.bytes), show_time(file.created_at), file.filename)


def print_rows(
    columns: Sequence[str], rows: Iterable[Sequence[str]], console: Console | None
) -> None:
    """A table for a person; else a line a row, its cells set apart by tabs."""
    shown = [[printable(cell) for cell in row] for row in rows]
    if console is None:
        for row in shown:
            typer.echo("\t".join(row))
        return
    table = Table(*columns, box=None, header_style="bold")
    for row in shown:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console.print(table)


def print_object(body: bytes, console: Console | None, *, as_json: bool) -> None:
    """One object of the server, as JSON or field by field; raises Garbled."""
    if as_json:
        print_json(body)
    else:
        print_fields(decode(body, dict[str, Any]), console)


def print_fields(thing: Mapping[str, Any], console: Console | None) -> None:
    """Every field of an object, a line each, those within others by dotted names."""
    fields = [(name, printable(text)) for name, text in _fields(thing)]
    width = max((len(name) for name, _ in fields), default=0)
    for name, text in fields:
        if console is None:
            typer.echo(f"{name:<{width}}  {text}")
        else:
            style = _STYLES.get(text, "") if text != "-" else "dim"
            row = Text.assemble((f"{name:<{width}}  ", "bold"), (text, style))
            console.print(row, soft_wrap=True)


def _fields(thing: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in thing.items():
        name = prefix + key
        if isinstance(value, dict) and value and name != "errors":
            yield from _fields(value, f"{name}.")
        elif name == "errors" and value:
            yield name, plural(len(value.get("data") or ()), "fault")
        else:
            yield name, _cell(key, value)


def _cell(key: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if key.endswith("_at") and isinstance(value, int):
        return show_time(value)
    return msgspec.json.encode(value).decode()


def fault_lines(faults: Iterable[Fault], source: str | None = None) -> Iterator[str]:
    """A line a fault; with the name of its ``source`` in the way of compilers."""
    for fault in faults:
        place = [source] if source else []
        if fault.line is not None:
            place.append(str(fault.line) if source else f"line {fault.line}")
        words = [":".join(place), fault.code or "", fault.message]
        yield printable(": ".join(word for word in words if word))


def sum_up(batch: Batch) -> str:
    """How a batch stands, in a line."""
    counts = batch.counts
    facts = [batch.status]
    if counts.total:
        facts.append(f"{counts.completed + counts.failed:,} of {plural(counts.total, 'request')}")
    if counts.failed:
        facts.append(f"{counts.failed:,} failed")
    if batch.faults:
        facts.append(plural(len(batch.faults), "fault"))
    if batch.is_over and batch.usage and batch.usage.input_tokens:
        tokens = batch.usage
        facts.append(f"{tokens.input_tokens:,} tokens in, {tokens.output_tokens:,} out")
    if batch.is_over and batch.cost:
        facts.append(f"{_amount(batch.cost.price)} {batch.cost.currency}")
    return printable(f"{batch.id}: {', '.join(facts)}")


def _amount(text: str) -> str:
    """An amount as a person reads it: two decimals, or more where it is less than a cent."""
    units = parse_amount(text)
    if units is None:
        return text
    return rounded(units) if units >= UNITS // 100 or not units else rounded(units, 6)


def style_of(batch: Batch) -> str:
    """How a person sees a batch's status."""
    if batch.status == "completed" and not batch.is_good:
        return "yellow"
    return _STYLES.get(batch.status, "")
