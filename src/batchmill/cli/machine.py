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
from batchmill.config import load_settings
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


def data_folder(config: Path | None, data_dir: Path | None) -> Path:
    """The folder that a server with the same options would use; raises ConfigError."""
    loaded = load_settings(file=config, env=os.environ, flags={"data.dir": data_dir})
    return loaded.settings.data.dir


def act(folder: Path, deed: Callable[[Administration], Awaitable[T]]) -> T:
    """What ``deed`` answers, in a folder that is made where missing."""

    async def main() -> T:
        async with open_administration(folder) as admin:
            return await deed(admin)

    return asyncio.run(main())


def look(folder: Path, sight: Callable[[Administration], Awaitable[T]]) -> T:
    """What ``sight`` answers, in a folder that a server has used; raises ConfigError."""
    if not Paths(folder).database.exists():
        raise ConfigError(
            f"There is no data of batchmill in {folder}: name its folder with --data-dir."
        )
    return act(folder, sight)


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
