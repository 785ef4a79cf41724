"""What every client verb shares: its options, and the world that it acts in.

The world is handed to the verbs when they are registered, so that a test can
bring a server, a clock and a terminal of its own.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import Annotated, Final, TextIO

import httpx2
import typer
from rich.console import Console

from batchmill.cli.client_http import Api, Server, open_api
from batchmill.cli.streams import one_sentence, say

DEFAULT_SERVER: Final = "http://127.0.0.1:8080/v1"
SERVER_VARIABLE: Final = "BATCHMILL_SERVER_URL"
KEY_VARIABLE: Final = "BATCHMILL_API_KEY"
STOPPED: Final = 130

ServerUrl = Annotated[
    str,
    typer.Option("--server", envvar=SERVER_VARIABLE, metavar="URL", help="Where the server is."),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar=KEY_VARIABLE,
        metavar="KEY",
        help="The API key; in the variable it stays out of the list of processes.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the server's JSON, for scripts.")]


def _console_on(stream: TextIO) -> Console | None:
    return Console(file=stream) if stream.isatty() else None


def _on_stdout() -> Console | None:
    return _console_on(sys.stdout)


def _on_stderr() -> Console | None:
    return _console_on(sys.stderr)


@dataclass(frozen=True, slots=True)
class World:
    """Time, chance, the network, and whether a person looks at stdout and stderr.

    ``now`` is seconds from anywhere. The consoles are None where nobody looks.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    new_key: Callable[[], str] = token_hex
    transport: httpx2.BaseTransport | None = None
    stdout: Callable[[], Console | None] = _on_stdout
    stderr: Callable[[], Console | None] = _on_stderr

    @contextmanager
    def talk(self, server: str, key: str | None) -> Iterator[Api]:
        """A server to ask; whatever goes wrong meanwhile is one sentence and exit code 2."""
        try:
            with one_sentence(), open_api(Server(server, key), self.transport) as api:
                yield api
        except KeyboardInterrupt:
            say("Stopped.")
            raise typer.Exit(STOPPED) from None
