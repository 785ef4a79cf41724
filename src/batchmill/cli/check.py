"""The verb ``check``: an input file against the rules, without a server.

The rules are those that a batch's input is planned by; this adds the reading
and the printing. What ``--price`` adds stands in ``check_price``. Exit codes:
0 good, 1 faults, 2 unreadable.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, BinaryIO, Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from batchmill.cli.check_places import Places
from batchmill.cli.streams import one_sentence, open_binary, plural
from batchmill.domain.batch import LineError
from batchmill.domain.catalog import ENDPOINTS, Catalog
from batchmill.domain.demand import Tally
from batchmill.domain.estimate import Checked
from batchmill.domain.limits import PROFILES, Profile
from batchmill.domain.lines import CHAT, FileCheck, LineCutter, LineRules, RawLine, read_url

_CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. ``bytes`` is how much was read; ``faults`` counts bad lines.

    ``estimate`` is that of ``--price`` as JSON, ``estimated`` the same in words.
    """

    name: str
    endpoint: str
    bytes: int
    lines: int
    faults: int
    models: tuple[str, ...]
    longest_line: int | None
    longest_bytes: int
    errors: tuple[LineError, ...]
    tally: Tally = field(default_factory=Tally)
    estimate: Mapping[str, Any] | None = None
    estimated: Sequence[str] = ()


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
    price: Annotated[
        bool, typer.Option("--price", help="Say as well what the batch would cost.")
    ] = False,
    prices: Annotated[
        Path | None,
        typer.Option(metavar="TABLE.TOML", help="With --price: the price table to go by."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="BATCHMILL_CONFIG",
            metavar="FILE",
            help="With --price: the server's settings, with its table and its upstreams.",
        ),
    ] = None,
    upstream: Annotated[
        str | None,
        typer.Option(metavar="URL", help="With --price: the model server that counts tokens."),
    ] = None,
    upstream_key_env: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Environment variable with the upstream's key."),
    ] = None,
) -> None:
    """Check an input file: every fault with its line number, counts and sizes.

    With --price also its input tokens and what it would cost. Ends with 0
    where the file is good, 1 where it has faults, 2 where it cannot be read.
    """
    rules = LineRules(
        endpoint=endpoint or "",
        catalog=_catalog(model or []),
        profile=profile,
        limits=replace(PROFILES[profile], max_errors=max_faults),
        mixed_models=mixed_models,
    )
    with one_sentence():
        with open_binary(file) as stream, _readable_twice(stream, price=price) as twice:
            report = examine(twice, file, rules, tally=price)
            if price:
                places = Places(config, prices, upstream, upstream_key_env)
                report = _priced(report, twice, places, rules.limits.completion_window_min)
        _print(report, as_json=as_json)
    raise typer.Exit(1 if report.errors else 0)


@contextmanager
def _readable_twice(stream: BinaryIO, *, price: bool) -> Iterator[BinaryIO]:
    """The stream, or a copy of what can only be read once if tokens are to be counted in it."""
    if not price or stream.seekable():
        yield stream
        return
    with TemporaryFile() as copy:
        shutil.copyfileobj(stream, copy, _CHUNK_BYTES)
        copy.seek(0)
        yield copy


def _priced(report: Report, stream: BinaryIO, places: Places, window: int) -> Report:
    # Imported here: a plain check has no use for settings and network, which take a second.
    from batchmill.cli import check_price

    checked = Checked(report.lines, report.faults, report.errors)
    question = check_price.Question(report.endpoint, window, checked, report.tally)
    found = check_price.estimate(stream, question, places)
    return replace(
        report,
        errors=found.checked.errors,
        estimate=check_price.as_json(found),
        estimated=check_price.facts_of(found),
    )


def _catalog(models: list[str]) -> Catalog:
    if not models:
        return Catalog(accepts_any=True)
    return Catalog(dict.fromkeys(models, frozenset(ENDPOINTS)))


def examine(stream: BinaryIO, name: str, rules: LineRules, *, tally: bool = False) -> Report:
    """Read the stream once and report; an empty endpoint is guessed from the first line.

    With ``tally`` the report says as well what the lines ask of their models.
    """
    examination = _Examination(rules, tally=tally)
    while not examination.is_over and (chunk := stream.read(_CHUNK_BYTES)):
        examination.feed(chunk)
    return examination.finish(name)


class _Examination:
    """One pass over a file."""

    def __init__(self, rules: LineRules, *, tally: bool) -> None:
        self._rules = rules
        self._tally = Tally() if tally else None
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
            tally=self._tally or Tally(),
        )

    def _take(self, raws: list[RawLine]) -> None:
        for raw in raws:
            if self._check is None:
                self._check = self._begin(raw)
            line = self._check.check(raw)
            if line is not None and raw.data is not None and self._tally is not None:
                self._tally.add(line, raw.data)
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
        **({} if report.estimate is None else {"estimate": report.estimate}),
    }


def _print_plain(report: Report) -> None:
    """A line a fault, in the way of compilers, then a line of counts."""
    for error in report.errors:
        place = report.name if error.line is None else f"{report.name}:{error.line}"
        typer.echo(f"{place}: {error.code}: {error.message}")
    typer.echo(f"{report.name}: {_verdict(report)}; {', '.join(_facts(report))}")
    for fact in report.estimated:
        typer.echo(f"{report.name}: {fact}")


def _print_rich(report: Report, console: Console) -> None:
    if report.errors:
        table = Table("line", "code", "what is wrong", box=None, header_style="bold")
        for error in report.errors:
            line = "file" if error.line is None else str(error.line)
            table.add_row(line, Text(error.code, style="red"), Text(error.message))
        console.print(table)
    style = "bold red" if report.errors else "bold green"
    console.print(Text(f"{report.name}: {_verdict(report)}", style=style))
    for fact in (*_facts(report), *report.estimated):
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
