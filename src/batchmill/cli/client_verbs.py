"""The verbs that speak to a server, as ``main`` takes them."""

import typer

from batchmill.cli.client_batches import BatchVerbs
from batchmill.cli.client_files import FileVerbs
from batchmill.cli.client_session import World


def register(app: typer.Typer, world: World | None = None) -> None:
    """Add submit, watch, list, show, cancel, results and files to ``app``.

    Tests bring a ``world`` of their own.
    """
    world = world or World()
    BatchVerbs(world).register(app)
    FileVerbs(world).register(app)
