"""The command line: every verb of ``batchmill``, each registered by the module that has it.

Only the module of the verb that is asked for is loaded: a server's settings
and database are no business of ``batchmill check``, and loading them would
take it a second.
"""

import sys
from collections.abc import Iterable
from importlib import import_module

import typer

import batchmill

VERBS = {
    "serve": "serve",
    "run": "run",
    "demo": "demo",
    "check": "files_local",
    "csv-to-jsonl": "files_local",
    "results-to-csv": "files_local",
    "generate": "files_local",
    "submit": "client_verbs",
    "watch": "client_verbs",
    "list": "client_verbs",
    "show": "client_verbs",
    "cancel": "client_verbs",
    "results": "client_verbs",
    "files": "client_verbs",
    "usage": "usage",
    "spending": "usage",
    "mock-upstream": "mock_upstream",
    "config": "config_show",
    "accounts": "accounts",
    "workspaces": "accounts",
    "keys": "keys",
    "prices": "prices",
    "migrate": "migrate",
    "move": "move",
    "cluster": "cluster",
}


def make_app(modules: Iterable[str] = VERBS.values()) -> typer.Typer:
    """The command line with the verbs of ``modules``, each taken once, in their order."""
    app = typer.Typer(
        name="batchmill",
        help="The Batch API that anyone can run in front of their own models.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        add_completion=False,
    )
    for module in dict.fromkeys(modules):
        import_module(f"batchmill.cli.{module}").register(app)
    app.command("version")(version)
    return app


def version() -> None:
    """Print the version."""
    typer.echo(batchmill.__version__)


def main() -> None:
    """The entry point of the ``batchmill`` command."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    make_app([VERBS[verb]] if verb in VERBS else VERBS.values())()
