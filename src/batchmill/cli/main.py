"""The command line: every verb of ``batchmill``, each registered by the module that has it."""

import typer

import batchmill
from batchmill.cli import client_verbs, config_show, demo, files_local, mock_upstream, run, serve

app = typer.Typer(
    name="batchmill",
    help="The Batch API that anyone can run in front of their own models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)

for verbs in (serve, run, demo, files_local, client_verbs, mock_upstream, config_show):
    verbs.register(app)


@app.command("version")
def version() -> None:
    """Print the version."""
    typer.echo(batchmill.__version__)


def main() -> None:
    """The entry point of the ``batchmill`` command."""
    app()
