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
from batchmill.service.identity import Identity
from batchmill.service.services import Services
from batchmill.service.sessions import SECRET_BYTES, Sessions
from batchmill.service.throttle import Throttle
from batchmill.wiring.parts import Parts, Paths


def add_console(app: FastAPI, settings: Settings, parts: Parts, services: Services) -> None:
    """Serve the console below ``BASE``, and lead there whoever opens the server in a browser."""
    throttle = Throttle(settings.to_rates(), parts.store.rates, parts.clock)
    fittings = Fittings(
        sessions=_sessions(settings, parts, throttle),
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


def _sessions(settings: Settings, parts: Parts, throttle: Throttle) -> Sessions:
    identity = Identity(store=parts.store, clock=parts.clock) if settings.needs_keys else None
    return Sessions(
        identity=identity,
        throttle=throttle,
        store=parts.store,
        clock=parts.clock,
        secret=session_secret(Paths(settings.data.dir).session_secret),
        ttl=settings.console.session_ttl,
    )


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
