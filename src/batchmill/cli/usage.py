"""The verbs of usage and spending: what a server has counted, as a table, as CSV or as JSON.

Amounts are printed as the server says them, to the last digit: nothing is
summed or rounded here.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import quote

import msgspec
import typer

from batchmill.cli.client_http import Api, decode
from batchmill.cli.client_session import DEFAULT_SERVER, Key, ServerUrl, World
from batchmill.cli.client_view import print_json, print_rows
from batchmill.cli.streams import say
from batchmill.domain.errors import InvalidRequest

Since = Annotated[str | None, typer.Option(help="From then on: 2026-11, 2026-11-01, Unix seconds.")]
Until = Annotated[str | None, typer.Option(help="Until just before then.")]
Month = Annotated[str | None, typer.Option(help="A whole month: 2026-11. By default this one.")]
Bucket = Annotated[str, typer.Option(help="A line an hour, day or month.")]
By = Annotated[
    str,
    typer.Option(
        help="Told apart by model, workspace, key, batch, region, commas between; or none."
    ),
]
Models = Annotated[list[str] | None, typer.Option("--model", help="Only these; repeatable.")]
Workspaces = Annotated[
    list[str] | None, typer.Option("--workspace", metavar="ID", help="Only these; repeatable.")
]
Keys = Annotated[
    list[str] | None, typer.Option("--key-id", metavar="ID", help="Only these; repeatable.")
]
Batches = Annotated[
    list[str] | None, typer.Option("--batch", metavar="ID", help="Only these; repeatable.")
]
Account = Annotated[str | None, typer.Option(help="Whose, or all; for the operator's admins.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the server's pages, one a line.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print a CSV table with a head.")]

_MONTH: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")
_COUNTS: Final = ("calls", "failures", "input", "output", "cached", "reasoning", "embedding")
_BILL: Final = ("item", "tokens", "list price", "price", "currency")
_SPELLINGS: Final = {"hour": "%Y-%m-%dT%H:00Z", "day": "%Y-%m-%d", "month": "%Y-%m"}


class Line(msgspec.Struct):
    """A line of either kind; what the other kind has is zero or empty."""

    start_time: int
    model: str | None = None
    workspace: str | None = None
    workspace_name: str | None = None
    key: str | None = None
    key_name: str | None = None
    batch: str | None = None
    region: str | None = None
    calls: int = 0
    failures: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    embedding_tokens: int = 0
    line_item: str = ""
    usage: int = 0
    list_price: str = ""
    price: str = ""
    currency: str | None = None


class Amount(msgspec.Struct):
    """Money."""

    currency: str
    amount: str


class Limit(msgspec.Struct):
    """A monthly limit and how much of it is used."""

    scope: str
    id: str
    currency: str
    limit: str
    percent: float


class Summary(msgspec.Struct):
    """The present month."""

    month: str
    charged: list[Amount]
    running: list[Amount]
    limits: list[Limit]


class Page(msgspec.Struct):
    """A page of lines."""

    data: list[Line]
    bucket: str
    group_by: list[str]
    next_after: str | None = None
    summary: Summary | None = None


class UsageVerbs:
    """The verbs, in a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def register(self, app: typer.Typer) -> None:
        """Add the verbs to ``app``."""
        app.command("usage")(self.usage)
        app.command("spending")(self.spending)

    def usage(
        self,
        since: Since = None,
        until: Until = None,
        month: Month = None,
        bucket: Bucket = "day",
        by: By = "model",
        model: Models = None,
        workspace: Workspaces = None,
        key_id: Keys = None,
        batch: Batches = None,
        account: Account = None,
        server: ServerUrl = DEFAULT_SERVER,
        key: Key = None,
        as_csv: AsCsv = False,
        as_json: AsJson = False,
    ) -> None:
        """Show calls and tokens, what runs at this moment among them."""
        with self._world.talk(server, key) as api:
            asked = {"bucket": bucket, "group_by": by, **_times(since, until, month)}
            asked |= _filters(model, workspace, key_id, batch, account)
            if as_csv:
                _print_csv(api, "/usage", asked)
                return
            self._print(_pages(api, "/usage", asked), _COUNTS, as_json=as_json)

    def spending(
        self,
        since: Since = None,
        until: Until = None,
        month: Month = None,
        bucket: Bucket = "month",
        by: By = "model",
        model: Models = None,
        workspace: Workspaces = None,
        key_id: Keys = None,
        batch: Batches = None,
        account: Account = None,
        server: ServerUrl = DEFAULT_SERVER,
        key: Key = None,
        as_csv: AsCsv = False,
        as_json: AsJson = False,
    ) -> None:
        """Show what was charged, and how this month stands against its limits."""
        with self._world.talk(server, key) as api:
            asked = {"bucket": bucket, "group_by": by, **_times(since, until, month)}
            asked |= _filters(model, workspace, key_id, batch, account)
            if as_csv:
                _print_csv(api, "/spending", asked)
                return
            last = self._print(_pages(api, "/spending", asked), _BILL, as_json=as_json)
            if not as_json and last.summary is not None and self._world.stderr() is not None:
                for sentence in _summed_up(last.summary):
                    say(sentence)

    def _print(self, pages: Iterator[bytes], columns: Sequence[str], *, as_json: bool) -> Page:
        """Print every page, and return the last one."""
        rows: list[tuple[str, ...]] = []
        while True:
            body = next(pages)
            page = decode(body, Page)
            if as_json:
                print_json(body)
            rows += [_row(line, page, columns) for line in page.data]
            if page.next_after is None:
                break
        if not as_json:
            names = (page.bucket, *page.group_by, *columns)
            print_rows(names, rows, self._world.stdout())
        return page


def register(app: typer.Typer, world: World | None = None) -> None:
    """Add usage and spending to ``app``; tests bring a ``world`` of their own."""
    UsageVerbs(world or World()).register(app)


def _pages(api: Api, path: str, asked: dict[str, str]) -> Iterator[bytes]:
    """Page after page; the reader stops behind the last one."""
    while True:
        body = api.get(path, asked)
        yield body
        asked = {**asked, "after": decode(body, Page).next_after or ""}


def _print_csv(api: Api, path: str, asked: dict[str, str]) -> None:
    with api.download(f"{path}?{_query({**asked, 'format': 'csv'})}") as table:
        stdout = typer.get_binary_stream("stdout")
        for piece in table.pieces:
            stdout.write(piece)
        stdout.flush()


def _query(asked: dict[str, str]) -> str:
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items())


def _times(since: str | None, until: str | None, month: str | None) -> dict[str, str]:
    if month is None:
        given = {"start_time": since, "end_time": until}
        return {name: text for name, text in given.items() if text}
    found = _MONTH.fullmatch(month)
    if found is None or since or until:
        raise InvalidRequest("--month takes a month such as 2026-11, without --since and --until.")
    year, number = int(found[1]), int(found[2])
    behind = f"{year + number // 12:04d}-{number % 12 + 1:02d}"
    return {"start_time": month, "end_time": behind}


def _filters(
    models: list[str] | None,
    workspaces: list[str] | None,
    keys: list[str] | None,
    batches: list[str] | None,
    account: str | None,
) -> dict[str, str]:
    chosen = {"model": models, "workspace": workspaces, "key": keys, "batch": batches}
    asked = {name: ",".join(values) for name, values in chosen.items() if values}
    return {**asked, **({"account": account} if account else {})}


def _row(line: Line, page: Page, columns: Sequence[str]) -> tuple[str, ...]:
    begin = datetime.fromtimestamp(line.start_time, UTC)
    names = {
        "model": line.model,
        "workspace": line.workspace_name or line.workspace,
        "key": line.key_name or line.key,
        "batch": line.batch,
        "region": line.region,
    }
    cells = _counts(line) if columns is _COUNTS else _bill(line)
    period = begin.strftime(_SPELLINGS.get(page.bucket, "%Y-%m-%d"))
    return (period, *(names.get(name) or "-" for name in page.group_by), *cells)


def _counts(line: Line) -> Iterator[str]:
    """The cells of _COUNTS."""
    tokens = (line.input_tokens, line.output_tokens, line.cached_tokens, line.reasoning_tokens)
    return map(str, (line.calls, line.failures, *tokens, line.embedding_tokens))


def _bill(line: Line) -> tuple[str, ...]:
    """The cells of _BILL."""
    prices = (line.list_price, line.price, line.currency or "-")
    return (line.line_item, str(line.usage), *prices)


def _summed_up(summary: Summary) -> Iterator[str]:
    running = {one.currency: one.amount for one in summary.running}
    for one in summary.charged:
        more = running.get(one.currency, "0")
        also = "" if more == "0" else f", and {more} run up by batches at work"
        yield f"{summary.month}: {one.amount} {one.currency} charged{also}."
    for limit in summary.limits:
        yield (
            f"Limit of {limit.scope} {limit.id}: {limit.percent:g} % of {limit.limit} "
            f"{limit.currency} used."
        )
