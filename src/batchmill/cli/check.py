"""The verb ``check``: an input file against the rules, without a server.

The rules are those that a batch's input is planned by; this adds the reading
and the printing. Exit codes: 0 good, 1 faults, 2 unreadable.
"""

import sys
from dataclasses import dataclass, replace
from typing import Annotated, BinaryIO, Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from batchmill.cli.streams import one_sentence, open_binary, plural
from batchmill.domain.batch import LineError
from batchmill.domain.catalog import ENDPOINTS, Catalog
from batchmill.domain.limits import PROFILES, Profile
from batchmill.domain.lines import CHAT, FileCheck, LineCutter, LineRules, RawLine, read_url

_CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. ``bytes`` is how much was read; ``faults`` counts bad lines."""

    name: str
    endpoint: str
    bytes: int
    lines: int
    faults: int
    models: tuple[str, ...]
    longest_line: int | None
    longest_bytes: int
    errors: tuple[LineError, ...]


def check(
    file: Annotated[str, typer.Argument(metavar="IN.JSONL", help="The input file; - is stdin.")],
    endpoint: Annotated[
        str | None, typer.Option(help="The batch's endpoint; by default the first line's url.")
    ] = None,
    profile: Annotated[Profile, typer.Option(help="Whose rules apply.")] = Profile.QWEN,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="A model that is served; repeatable.")
    ] = None,
    mixed_models: Annotated[
        bool, typer.Option("--mixed-models", help="Allow several models in the file.")
    ] = False,
    max_faults: Annotated[int, typer.Option(min=1, help="How many faults to list.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check an input file: every fault with its line number, counts and sizes.

    Ends with 0 where the file is good, 1 where it has faults, 2 where it
    cannot be read.
    """
    rules = LineRules(
        endpoint=endpoint or "",
        catalog=_catalog(model or []),
        profile=profile,
        limits=replace(PROFILES[profile], max_errors=max_faults),
        mixed_models=mixed_models,
    )
    with one_sentence():
        with open_binary(file) as stream:
            report = examine(stream, file, rules)
        _print(report, as_json=as_json)
    raise typer.Exit(1 if report.errors else 0)


def _catalog(models: list[str]) -> Catalog:
    if not models:
        return Catalog(accepts_any=True)
    return Catalog(dict.fromkeys(models, frozenset(ENDPOINTS)))


def examine(stream: BinaryIO, name: str, rules: LineRules) -> Report:
    """Read the stream once and report; an empty endpoint is guessed from the first line."""
    examination = _Examination(rules)
    while not examination.is_over and (chunk := stream.read(_CHUNK_BYTES)):
        examination.feed(chunk)
    return examination.finish(name)


class _Examination:
    """One pass over a file."""

    def __init__(self, rules: LineRules) -> None:
        self._rules = rules
        self._cutter = LineCutter(rules.limits.max_line_bytes)
        self._check: FileCheck | None = None
        self._bytes = 0
        self._longest: RawLine | None = None
        self._longest_bytes = 0

    @property
    def is_over(self) -> bool:
        """Whether reading on would find nothing new."""
        return self._check is not None and self._check.is_overfull

    def feed(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        self._take(self._cutter.feed(chunk))

    def finish(self, name: str) -> Report:
        self._take(self._cutter.finish())
        check = self._check or FileCheck(self._rules)
        return Report(
            name=name,
            endpoint=self._rules.endpoint,
            bytes=self._bytes,
            lines=check.lines,
            faults=check.faults,
            models=check.models,
            longest_line=self._longest.number if self._longest else None,
            longest_bytes=self._longest_bytes,
            errors=check.finish(),
        )

    def _take(self, raws: list[RawLine]) -> None:
        for raw in raws:
            if self._check is None:
                self._check = self._begin(raw)
            self._check.check(raw)
            size = raw.end - raw.start if raw.data is None else len(raw.data)
            if size > self._longest_bytes:
                self._longest, self._longest_bytes = raw, size

    def _begin(self, first: RawLine) -> FileCheck:
        if not self._rules.endpoint:
            url = read_url(first.data) if first.data else None
            endpoint = url if url in ENDPOINTS else CHAT
            self._rules = replace(self._rules, endpoint=endpoint)
        return FileCheck(self._rules)


# --- printing ---


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(_as_object(report)))
    elif sys.stdout.isatty():
        _print_rich(report, Console())
    else:
        _print_plain(report)


def _as_object(report: Report) -> dict[str, object]:
    longest = {"line": report.longest_line, "bytes": report.longest_bytes}
    return {
        "good": not report.errors,
        "file": report.name,
        "endpoint": report.endpoint or None,
        "bytes": report.bytes,
        "lines": report.lines,
        "bad_lines": report.faults,
        "models": report.models,
        "longest_line": longest if report.longest_line else None,
        "errors": report.errors,
    }


def _print_plain(report: Report) -> None:
    """A line a fault, in the way of compilers, then a line of counts."""
    for error in report.errors:
        place = report.name if error.line is None else f"{report.name}:{error.line}"
        typer.echo(f"{place}: {error.code}: {error.message}")
    typer.echo(f"{report.name}: {_verdict(report)}; {', '.join(_facts(report))}")


def _print_rich(report: Report, console: Console) -> None:
    if report.errors:
        table = Table("line", "code", "what is wrong", box=None, header_style="bold")
        for error in report.errors:
            line = "file" if error.line is None else str(error.line)
            table.add_row(line, Text(error.code, style="red"), Text(error.message))
        console.print(table)
    style = "bold red" if report.errors else "bold green"
    console.print(Text(f"{report.name}: {_verdict(report)}", style=style))
    for fact in _facts(report):
        console.print(Text(f"  {fact}"))


def _verdict(report: Report) -> str:
    if report.faults:
        return plural(report.faults, "bad line")
    return "refused as a whole" if report.errors else "good"


def _facts(report: Report) -> list[str]:
    facts = [plural(report.lines, "request"), plural(report.bytes, "byte")]
    if report.models:
        facts.append(f"model {', '.join(report.models)}")
    if report.endpoint:
        facts.append(f"endpoint {report.endpoint}")
    if report.longest_line is not None:
        facts.append(f"longest line {report.longest_line}: {plural(report.longest_bytes, 'byte')}")
    return facts
