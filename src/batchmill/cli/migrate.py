"""``batchmill migrate``: the database brought up to date, before a server does so by itself.

Where the servers' own user may not change tables, whoever owns them runs this
before each update. Several at once do no harm: one migrates, the others wait.
"""

import asyncio
from typing import Annotated

import typer

from batchmill.cli.config_show import ConfigFile
from batchmill.cli.machine import DataDir, place_of, settings_of
from batchmill.cli.streams import one_sentence
from batchmill.store import NEWEST, Schema
from batchmill.wiring.admin import migrate as bring_up_to_date
from batchmill.wiring.admin import schema_of

_BEHIND = 1


def register(app: typer.Typer) -> None:
    """Add ``migrate`` to the command line."""
    app.command("migrate")(migrate)


def migrate(
    is_asked: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; exit code 1 if there is something to do."),
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Bring the database up to date; servers do so too when they start."""
    with one_sentence():
        settings = settings_of(config, data_dir)
        look = schema_of if is_asked else bring_up_to_date
        before = asyncio.run(look(settings))
        before.assert_usable()
    place = place_of(settings)
    if before.is_ahead:
        typer.echo(
            f"The database {place} is at revision {before.revision}, which a newer release made; "
            f"this one, made for {NEWEST}, can work with it."
        )
    elif not before.is_behind:
        typer.echo(f"The database {place} is up to date, at revision {NEWEST}.")
    elif is_asked:
        typer.echo(f"The database {place} {_was(before)}; this release needs {NEWEST}.")
        raise typer.Exit(_BEHIND)
    else:
        typer.echo(f"The database {place} {_was(before)}, and is at {NEWEST} now.")


def _was(schema: Schema) -> str:
    return "was empty" if schema.revision is None else f"was at revision {schema.revision}"
