"""What the verbs share that administer a server on its own machine.

They open the data folder's database, beside a running server or without one:
who can do that needs no key. The audit log knows them as ``machine``.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console

from batchmill.cli.client_view import print_json, print_rows
from batchmill.config import Settings, load_settings, public_url
from batchmill.domain.errors import ConfigError
from batchmill.service.administration import Administration
from batchmill.service.caller import MACHINE, Caller
from batchmill.wiring.admin import open_administration
from batchmill.wiring.parts import Paths

T = TypeVar("T")

WHO: Final = Caller(actor=MACHINE)

DataDir = Annotated[
    Path | None, typer.Option(help="Folder of the server's data; that of the settings if absent.")
]
OfAccount = Annotated[
    str, typer.Option("--account", metavar="ID", help="The account that it is about.")
]


def settings_of(config: Path | None, data_dir: Path | None) -> Settings:
    """The settings of a server with the same options; raises ConfigError."""
    return load_settings(file=config, env=os.environ, flags={"data.dir": data_dir}).settings


def place_of(settings: Settings) -> str:
    """Where the database is, as people are told: without users and passwords."""
    url = settings.data.database
    return str(settings.data.dir) if url is None else public_url(url.get_secret_value())


def act(settings: Settings, deed: Callable[[Administration], Awaitable[T]]) -> T:
    """What ``deed`` answers, over a database that is made where missing."""

    async def main() -> T:
        async with open_administration(settings) as admin:
            return await deed(admin)

    return asyncio.run(main())


def look(settings: Settings, sight: Callable[[Administration], Awaitable[T]]) -> T:
    """What ``sight`` answers, over a database that a server has used; raises ConfigError."""
    folder = settings.data.dir
    if settings.data.database is None and not Paths(folder).database.exists():
        raise ConfigError(
            f"There is no data of batchmill in {folder}: name its folder with --data-dir."
        )
    return act(settings, sight)


def show(shape: BaseModel, text: str, *, as_json: bool) -> None:
    """Print the shape that the API would answer, or a text for people and scripts."""
    if as_json:
        print_json(shape.model_dump_json().encode())
    else:
        typer.echo(text)


def show_table(
    shape: BaseModel, columns: Sequence[str], rows: Iterable[Sequence[str]], *, as_json: bool
) -> None:
    """Print the shape that the API would answer, or a table of it."""
    if as_json:
        print_json(shape.model_dump_json().encode())
    else:
        print_rows(columns, rows, Console() if sys.stdout.isatty() else None)
