"""The console, made from settings, and put beside the API on the same application."""

import os
from contextlib import suppress
from pathlib import Path
from secrets import token_bytes
from tempfile import mkstemp

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from batchmill.config import Settings
from batchmill.console import BASE, Fittings, create_console
from batchmill.domain.errors import ConfigError
from batchmill.door.bodies import Patience
from batchmill.ports.secrets import SESSIONS, SecretStore
from batchmill.service.identity import Identity
from batchmill.service.services import Services
from batchmill.service.sessions import SECRET_BYTES, Sessions
from batchmill.service.throttle import Throttle
from batchmill.wiring.parts import Parts, Paths


def add_console(
    app: FastAPI,
    settings: Settings,
    parts: Parts,
    services: Services,
    secret: bytes | None = None,
) -> None:
    """Serve the console below ``BASE``, and lead there whoever opens the server in a browser.

    Sessions are signed with ``secret``, or with what the data folder holds.
    """
    throttle = Throttle(settings.to_rates(), parts.store.rates, parts.clock)
    secret = secret or session_secret(Paths(settings.data.dir).session_secret)
    fittings = Fittings(
        sessions=_sessions(settings, parts, throttle, secret),
        throttle=throttle,
        clock=parts.clock,
        limits=settings.to_limits(),
        zone=settings.timezone(),
        patience=Patience(settings.server.upload_idle_timeout),
        scratch=settings.data.dir,
    )
    app.add_route("/", _to_console, include_in_schema=False)
    app.add_route(BASE, _to_console, include_in_schema=False)
    app.mount(BASE, create_console(services, fittings))


async def _to_console(_request: Request) -> Response:
    return RedirectResponse(f"{BASE}/", 303)


def _sessions(settings: Settings, parts: Parts, throttle: Throttle, secret: bytes) -> Sessions:
    identity = Identity(store=parts.store, clock=parts.clock) if settings.needs_keys else None
    return Sessions(
        identity=identity,
        throttle=throttle,
        store=parts.store,
        clock=parts.clock,
        secret=secret,
        ttl=settings.console.session_ttl,
    )


async def shared_secret(secrets: SecretStore) -> bytes:
    """What sessions are signed with on every machine: made by whoever is first, and kept."""
    return await secrets.keep(SESSIONS, token_bytes(SECRET_BYTES))


def session_secret(path: Path) -> bytes:
    """What sessions are signed with: made once, and kept, so that they outlive a restart.

    Raises ConfigError where the file holds something else.
    """
    if not path.exists():
        _make_secret(path)
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        message = (
            f"The file {path} does not hold the secret of the console's sessions: remove it, and "
            "a new one is made. Who is signed in will have to sign in again."
        )
        raise ConfigError(message)
    return secret


def _make_secret(path: Path) -> None:
    """Put a secret in place whole and synced, unless another process is first."""
    handle, draft = mkstemp(prefix=path.name, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        Path(draft).unlink()
