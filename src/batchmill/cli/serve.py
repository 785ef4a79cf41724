"""``batchmill serve``: makes settings, socket and lock, and becomes the supervisor."""

import asyncio
import fcntl
import os
import shlex
import socket
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from batchmill.cli import supervisor
from batchmill.cli.config_show import ConfigFile
from batchmill.cli.discovery import offer_models
from batchmill.cli.streams import one_sentence
from batchmill.config import (
    DataSettings,
    Settings,
    UpstreamSettings,
    dump_settings,
    load_prices,
    load_settings,
    public_url,
)
from batchmill.domain.catalog import TEST_MODEL
from batchmill.domain.errors import ConfigError, StorageAway, StorageFull
from batchmill.domain.price_table import dump_table
from batchmill.wiring.admin import can_administer
from batchmill.wiring.moved import assert_serves
from batchmill.wiring.parts import Paths, prepare_parts

_BACKLOG = 2048

Upstreams = Annotated[
    list[str] | None,
    typer.Option(
        "--upstream",
        metavar="URL",
        help="Offer every model that the server at this base URL lists, such as "
        "http://localhost:8000/v1. May be given several times.",
    ),
]
KeyVariable = Annotated[
    str | None,
    typer.Option(
        "--upstream-key-env", metavar="NAME", help="Environment variable with the upstream's key."
    ),
]


def register(app: typer.Typer) -> None:
    """Add ``serve`` to the command line."""
    app.command("serve")(serve)


def serve(
    config: ConfigFile = None,
    upstream: Upstreams = None,
    upstream_key_env: KeyVariable = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes any free one.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder that everything is kept in.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="qwen or openai.")] = None,
) -> None:
    """Serve the Batch API. Without any option: the built-in models, on 127.0.0.1:8080."""
    flags = {"server.host": host, "server.port": port, "data.dir": data_dir, "profile": profile}
    with one_sentence():
        loaded = load_settings(file=config, env=os.environ, flags=flags)
        settings = offer_models(
            loaded.settings, upstream_settings(upstream or (), upstream_key_env)
        )
        prices = load_prices(settings)
        lock = lock_folder(settings.data.dir)
        assert_serves(settings)
        _prepare(settings)
        door = _describe_door(settings, config)
        listening = _listen(settings.server.host, settings.server.port)
    _greet(settings, listening, door)
    supervisor.start(
        supervisor.Post(
            settings=dump_settings(settings).decode(),
            prices=dump_table(prices),
            stop_grace=settings.engine.stop_grace,
            socket=listening.detach(),
            lock=lock,
            log_json=not sys.stderr.isatty()
            if settings.log.format == "auto"
            else settings.log.format == "json",
            processes=_processes(settings),
        )
    )


def _processes(settings: Settings) -> tuple[str, ...]:
    """Where a cluster runs the batches, a server is its doors alone."""
    return (supervisor.API,) if settings.runs_elsewhere else supervisor.NAMES


def upstream_settings(urls: Sequence[str], key_env: str | None) -> list[UpstreamSettings]:
    """The upstreams of ``--upstream``, checked as those of a file are; raises ConfigError."""
    tables = [{"url": url, "api_key_env": key_env} for url in urls]
    rows = [{key: value for key, value in table.items() if value} for table in tables]
    checked = load_settings(
        file=None,
        env={name: os.environ[name] for name in (key_env,) if name and name in os.environ},
        flags={"models": [{"name": "upstream", "upstreams": rows}]} if rows else {},
    )
    return [one for model in checked.settings.models for one in model.upstreams]


def _prepare(settings: Settings) -> None:
    """Make or migrate the database here: the tools for that are out of memory with this process.

    What may pass is left to the processes that serve, which try again.
    """
    with suppress(StorageFull, StorageAway):
        asyncio.run(prepare_parts(settings))


def _describe_door(settings: Settings, config: Path | None) -> str:
    """Who gets in, and how the first one does; a server without any key is served all the same."""
    if not settings.needs_keys:
        return "not needed: whoever reaches this address is the operator"
    has_admin = False
    with suppress(StorageFull, StorageAway):
        has_admin = asyncio.run(can_administer(settings))
    if has_admin:
        return "needed; clients take theirs from BATCHMILL_API_KEY"
    option, where = "--data-dir", settings.data.dir
    if config is not None and settings.data.database is not None:
        option, where = "--config", config
    place = shlex.quote(str(where.absolute()))
    return f"needed, and there is none: batchmill keys create --admin {option} {place}"


def lock_folder(folder: Path) -> int:
    """The lock of the one server on this folder, held while the descriptor is open."""
    path = Paths(folder).server_lock
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(
            f"The data folder {folder} is in use by another batchmill: stop that one, "
            "or choose another folder with --data-dir."
        ) from None
    return fd


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host}:{port} ({error.strerror}): "
            "choose another port with --port, or stop what uses this one."
        ) from None
    listening.listen(_BACKLOG)
    return listening


def _greet(settings: Settings, listening: socket.socket, door: str) -> None:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    console = f"  console http://{shown}:{port}/console\n" if settings.console.enabled else ""
    barred = settings.barred_models()
    served = [model.name for model in settings.models if model.name not in barred]
    models = ", ".join([*served, TEST_MODEL])
    typer.echo(
        f"batchmill serves on http://{shown}:{port}/v1\n{console}"
        f"  models  {models}\n{_describe_barred(barred)}"
        f"  data    {settings.data.dir.absolute()}\n{_describe_places(settings.data)}"
        f"  keys    {door}\n"
        f"  try it  batchmill submit --wait your-requests.jsonl\n"
        f"  stop    Ctrl-C"
    )
    sys.stdout.flush()


def _describe_places(data: DataSettings) -> str:
    """Where rows and bytes are, if not in the folder; without users, passwords and options."""
    database = data.database and data.database.get_secret_value()
    places = {"rows": database, "files": data.blobs}
    return "".join(f"  {name:<6}  {public_url(url)}\n" for name, url in places.items() if url)


def _describe_barred(models: Collection[str]) -> str:
    if not models:
        return ""
    names = ", ".join(sorted(models))
    return f"  barred  {names}: no upstream is in a region of compute_regions\n"
