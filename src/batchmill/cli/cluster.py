"""``batchmill cluster``: the dispatcher and the workers on a Ray cluster that is there already."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

import batchmill
from batchmill.cli.client_view import print_rows
from batchmill.cli.config_show import AsJson, ConfigFile
from batchmill.cli.streams import one_sentence, say
from batchmill.cluster import ray_control
from batchmill.cluster.ray_actors import Papers, Standing
from batchmill.cluster.ray_control import Node
from batchmill.cluster.ray_session import DISPATCHER, Session, connected
from batchmill.config import Settings, dump_without_secrets, load_prices, load_settings
from batchmill.domain.errors import ConfigError
from batchmill.domain.price_table import dump_table

_UNAVAILABLE: Final = 1
_START_SECONDS: Final = 60.0

Release = Annotated[
    str | None,
    typer.Option(metavar="VERSION", help="The release to drain; the one that leads if not given."),
]
Now = Annotated[bool, typer.Option("--now", help="At once: what is in flight is sent again later.")]
Grace = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="How long to wait for what is in flight; engine.stop_grace if absent.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add ``cluster`` to the command line."""
    commands = typer.Typer(
        help="Run the engine on a Ray cluster that is there already.", no_args_is_help=True
    )
    for command in (start, status, drain, stop):
        commands.command(command.__name__)(command)
    app.add_typer(commands, name="cluster")


def start(config: ConfigFile = None) -> None:
    """Put the dispatcher on the cluster; it makes a worker on each node. Again is harmless."""
    with one_sentence():
        settings = _settings(config)
        papers = Papers(dump_without_secrets(settings), dump_table(load_prices(settings)))
        _prepare(settings)
        with _session(settings) as session:
            # Imported here: it brings all of the engine, which no other verb needs.
            from batchmill.wiring.cluster import lead

            resource = settings.cluster.worker_resource
            is_new = ray_control.start_dispatcher(session, lead, papers, resource)
            found = ray_control.await_standing(session, 0.0 if not is_new else _START_SECONDS)
            others = ray_control.standings(session).keys() - {session.dispatcher}
    if not is_new:
        say("It runs already; to apply changed settings, drain it first.")
    _tell_start(found, sorted(others))


def status(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print nodes, dispatchers, workers and slots; exit code 1 where no dispatcher leads."""
    with one_sentence():
        settings = _settings(config)
        with _session(settings) as session:
            nodes, standings = ray_control.nodes(), ray_control.standings(session)
    if as_json:
        typer.echo(json.dumps(_as_tree(nodes, standings), indent=2))
    else:
        _print_nodes(nodes, standings)
        _print_slots(standings)
    if not any(one is not None and one.epoch for one in standings.values()):
        raise typer.Exit(_UNAVAILABLE)


def drain(config: ConfigFile = None, release: Release = None, grace: Grace = None) -> None:
    """Hand out nothing more, let what is in flight end, and end the dispatcher and its workers.

    A dispatcher of another release that waits takes over then.
    """
    with one_sentence():
        settings = _settings(config)
        with _session(settings) as session:
            name = _to_drain(ray_control.standings(session), release)
            _drain(session, name, settings.engine.stop_grace if grace is None else grace)
    say(f"{_release(name)} is drained.")


def stop(config: ConfigFile = None, now: Now = False, grace: Grace = None) -> None:
    """End every dispatcher and worker of this deployment; batches go on with the next start."""
    with one_sentence():
        settings = _settings(config)
        with _session(settings) as session:
            wait = settings.engine.stop_grace if grace is None else grace
            names = [] if now else _waiting_first(ray_control.standings(session))
            for name in names:
                _drain(session, name, wait)
            count = len(names) + ray_control.kill_all(session)
    say("Nothing ran." if not count else "Everything has ended.")


def _settings(config: Path | None) -> Settings:
    settings = load_settings(file=config, env=os.environ, flags={}).settings
    if not settings.runs_elsewhere:
        raise ConfigError(
            'cluster.kind is "local": batchmill serve runs the engine itself. Set it to "ray" to '
            "use a Ray cluster."
        )
    return settings


@contextmanager
def _session(settings: Settings) -> Iterator[Session]:
    chosen = settings.cluster
    session = Session(chosen.address, chosen.auth, chosen.namespace, batchmill.__version__)
    with connected(session):
        yield session


def _prepare(settings: Settings) -> None:
    """Make or migrate the database and try the bucket, so that what is wrong is said here."""
    from batchmill.wiring.parts import prepare_parts

    asyncio.run(prepare_parts(settings))


def _to_drain(standings: Mapping[str, Standing | None], release: str | None) -> str:
    wanted = f"{DISPATCHER}-{release}"
    for name, found in standings.items():
        if name == wanted or (release is None and found is not None and found.epoch):
            return name
    if release is None:
        raise ConfigError("No dispatcher leads: there is nothing to drain.")
    raise ConfigError(f"There is no dispatcher of release {release} on the cluster.")


def _waiting_first(standings: Mapping[str, Standing | None]) -> list[str]:
    """Those that answer, the one that leads last: else another would take over meanwhile."""
    answering = {name: one.epoch for name, one in standings.items() if one is not None}
    return sorted(answering, key=answering.__getitem__)


def _drain(session: Session, name: str, grace: float) -> None:
    try:
        ray_control.drain(session, name, grace)
    except TimeoutError:
        raise ConfigError(
            f"{_release(name)} has not ended in time: look at its log, or end it with "
            "batchmill cluster stop --now."
        ) from None


def _release(name: str) -> str:
    return f"Release {name.removeprefix(f'{DISPATCHER}-')}"


def _tell_start(found: Standing | None, others: list[str]) -> None:
    if found is not None and found.epoch:
        say(f"The dispatcher leads (epoch {found.epoch}).")
    elif others:
        names = ", ".join(_release(name).lower() for name in others)
        say(f"The dispatcher waits until {names} is drained: batchmill cluster drain")
    else:
        say("The dispatcher does not lead yet: look at its log on the cluster.")
        raise typer.Exit(_UNAVAILABLE)


# --- what status prints ---


def _as_tree(nodes: list[Node], standings: Mapping[str, Standing | None]) -> dict[str, Any]:
    return {
        "nodes": [asdict(node) for node in nodes],
        "dispatchers": {name: one and asdict(one) for name, one in standings.items()},
    }


def _console() -> Console | None:
    return Console() if sys.stdout.isatty() else None


def _print_nodes(nodes: list[Node], standings: Mapping[str, Standing | None]) -> None:
    """One line a thing: what it is, its name, how it is, and what it has to do."""
    rows = [
        ("node", node.name[:12], "head" if node.is_head else "up", node.address) for node in nodes
    ]
    for name, one in standings.items():
        rows.append(("dispatcher", name.removeprefix(f"{DISPATCHER}-"), _state(one), _work(one)))
        for place in one.workers if one is not None else ():
            state = "ready" if place.is_ready else "away"
            work = f"{place.shards} shards, {place.lines} lines"
            rows.append(("worker", place.name.rpartition("-")[2][:12], state, work))
    print_rows(("what", "name", "state", ""), rows, _console())


def _state(one: Standing | None) -> str:
    if one is None:
        return "silent"
    if one.is_draining:
        return "draining"
    return "leads" if one.epoch else "waits"


def _work(one: Standing | None) -> str:
    return f"epoch {one.epoch}, {one.batches} batches" if one is not None and one.epoch else "-"


def _print_slots(standings: Mapping[str, Standing | None]) -> None:
    rows = [
        (outlet.model, outlet.upstream, str(held), str(cap))
        for one in standings.values()
        if one is not None
        for outlet, held, cap in one.slots
    ]
    if rows:
        print_rows(("model", "upstream", "slots given", "of"), rows, _console())
