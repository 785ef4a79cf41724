"""The verbs of usage and spending, against pages in the shapes that the server makes."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
import typer
from client_fake import Ran, fault
from rich.console import Console
from typer.testing import CliRunner

from batchmill.api.usage_samples import SPENDING, SPENDING_TABLE, USAGE, USAGE_TABLE
from batchmill.cli.client_session import World
from batchmill.cli.main import VERBS
from batchmill.cli.usage import register


@dataclass
class Desk(httpx2.BaseTransport):
    """A person's place, and the server at the other end of the wire: it hands out the answers."""

    answers: Sequence[httpx2.Response]
    screen: io.StringIO | None = None
    asked: list[httpx2.Request] = field(default_factory=list)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        return self.answers[len(self.asked) - 1]

    def run(self, *args: str) -> Ran:
        app = typer.Typer()
        register(app, World(transport=self, stdout=self.console, stderr=self.console))
        env = {"BATCHMILL_SERVER_URL": None, "BATCHMILL_API_KEY": None}
        result = CliRunner(env=env).invoke(app, list(args))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    def console(self) -> Console | None:
        if self.screen is None:
            return None
        return Console(file=self.screen, width=160, force_terminal=True, color_system=None)

    @property
    def params(self) -> dict[str, str]:
        return dict(self.asked[-1].url.params)


def page_of(body: dict[str, Any], **more: Any) -> httpx2.Response:
    return httpx2.Response(200, json={**body, **more})


def test_the_verbs_are_known() -> None:
    """``batchmill usage`` loads their module alone."""
    assert VERBS["usage"] == VERBS["spending"] == "usage"


def test_usage_is_lines_for_a_pipe() -> None:
    """Its cells are set apart by tabs, and there is no head."""
    desk = Desk([page_of(USAGE)])
    ran = desk.run("usage")
    assert (ran.code, ran.err) == (0, "")
    cells = ("2025-10-09", "qwen-plus", "1000", "3", "50000", "200000", "1000", "0", "0")
    assert ran.out == "\t".join(cells) + "\n"
    assert desk.asked[0].url.path == "/v1/usage"
    assert desk.params == {"bucket": "day", "group_by": "model"}


def test_spending_is_lines_for_a_pipe() -> None:
    """Names in the place of ids where there are some, and amounts to the last digit."""
    ran = Desk([page_of(SPENDING)]).run("spending")
    (line,) = ran.out.splitlines()
    assert line.split("\t") == [
        *("2025-10", "qwen-plus", "Default", "nightly"),
        *("batch_3f6d1c52-8a0e-4a67-9d35-2b7f5a1c9e44", "eu-west", "output_token_batch"),
        *("200000", "0.24", "0.12", "USD"),
    ]
    assert ran.err == ""


def test_a_person_sees_a_table_and_how_the_month_stands() -> None:
    screen = io.StringIO()
    ran = Desk([page_of(SPENDING)], screen).run("spending")
    head, row = (line.split() for line in screen.getvalue().splitlines())
    assert head[:3] == ["month", "model", "workspace"]
    assert row[:2] == ["2025-10", "qwen-plus"]
    assert ran.err.splitlines() == [
        "2025-10: 0.13 USD charged, and 0.005 run up by batches at work.",
        "Limit of workspace ws_default: 0.6 % of 20 USD used.",
    ]


def test_every_page_is_fetched() -> None:
    """Until there is none behind it; as JSON a page is a line."""
    pages = [page_of(USAGE, next_after="one"), page_of(USAGE, next_after="two"), page_of(USAGE)]
    desk = Desk(pages)
    assert len(desk.run("usage").out.splitlines()) == 3
    assert [dict(asked.url.params).get("after") for asked in desk.asked] == [None, "one", "two"]
    ran = Desk(pages).run("usage", "--json")
    assert [page["next_after"] for page in ran.objects] == ["one", "two", None]
    assert ran.objects[2] == json.loads(json.dumps(USAGE))


@pytest.mark.parametrize(("verb", "table"), [("usage", USAGE_TABLE), ("spending", SPENDING_TABLE)])
def test_csv_is_the_servers(verb: str, table: str) -> None:
    """Asked for as a whole, and printed as it comes."""
    desk = Desk([httpx2.Response(200, text=table)])
    out = desk.run(verb, "--csv", "--model", "a b&c").out  # whose line ends the runner changed
    assert out == table.replace("\r\n", "\n")
    assert desk.params["format"] == "csv"
    assert desk.params["model"] == "a b&c"
    assert "limit" not in desk.params


def test_what_is_asked_for_is_passed_on() -> None:
    desk = Desk([page_of(USAGE)])
    desk.run(
        *("usage", "--since", "2026-01-05", "--until", "2026-02", "--bucket", "hour"),
        *("--by", "key,batch", "--model", "a", "--model", "b", "--workspace", "ws_1"),
        *("--key-id", "key_1", "--batch", "batch_1", "--account", "all"),
    )
    assert desk.params == {
        "bucket": "hour",
        "group_by": "key,batch",
        "start_time": "2026-01-05",
        "end_time": "2026-02",
        "model": "a,b",
        "workspace": "ws_1",
        "key": "key_1",
        "batch": "batch_1",
        "account": "all",
    }


@pytest.mark.parametrize(
    ("month", "behind"), [("2026-01", "2026-02"), ("2026-11", "2026-12"), ("2026-12", "2027-01")]
)
def test_a_month_ends_where_the_next_begins(month: str, behind: str) -> None:
    desk = Desk([page_of(SPENDING)])
    desk.run("spending", "--month", month)
    assert (desk.params["start_time"], desk.params["end_time"]) == (month, behind)


@pytest.mark.parametrize(
    "args", [("--month", "2026-13"), ("--month", "2026"), ("--month", "2026-11", "--since", "0")]
)
def test_a_month_that_is_none_is_said(args: tuple[str, ...]) -> None:
    """Before anything is asked of the server."""
    desk = Desk([])
    ran = desk.run("spending", *args)
    assert (ran.code, desk.asked) == (2, [])
    assert "--month takes a month" in ran.err


def test_a_refusal_is_one_sentence() -> None:
    """In the server's words."""
    ran = Desk([fault(400, "Invalid 'start_time': no.")]).run("usage", "--since", "x")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "batchmill: Invalid 'start_time': no.\n"
