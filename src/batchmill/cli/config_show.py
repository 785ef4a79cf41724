"""``batchmill config show``: what is in force, where it came from, secrets masked."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from batchmill.config import CONFIG_VARIABLE, Entry, list_settings, load_settings
from batchmill.domain.errors import ConfigError

_BAD_SETTING = 2

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar=CONFIG_VARIABLE, metavar="FILE", help="The TOML file with the settings."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def register(app: typer.Typer) -> None:
    """Add ``config show`` to the command line."""
    commands = typer.Typer(help="Look at the settings.", no_args_is_help=True)
    # a callback keeps the word "show" although it is the only command yet
    commands.callback()(_config)
    commands.command("show")(show)
    app.add_typer(commands, name="config")


def show(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print each setting in force, its value, and where the value came from."""
    try:
        entries = tuple(list_settings(load_settings(file=config, env=os.environ, flags={})))
    except ConfigError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(_BAD_SETTING) from None
    typer.echo(_as_json(entries) if as_json else _as_table(entries))


def _config() -> None:
    """Look at the settings."""


def _as_json(entries: Iterable[Entry]) -> str:
    rows = {entry.name: {"value": entry.value, "origin": entry.origin} for entry in entries}
    return json.dumps(rows, indent=2)


def _as_table(entries: Sequence[Entry]) -> str:
    name = max(len(entry.name) for entry in entries)
    text = max(len(entry.text) for entry in entries)
    return "\n".join(
        f"{entry.name:<{name}}  {entry.text:<{text}}  {entry.origin}" for entry in entries
    )
