"""A server as it is wired, without a socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from batchmill.config import Settings
from batchmill.config.settings import DataSettings
from batchmill.wiring.api import make_app
from batchmill.wiring.parts import open_parts


@asynccontextmanager
async def served(folder: Path, **sections: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a server over ``folder``; ``sections`` are those of its settings."""
    settings = Settings(data=DataSettings(dir=folder), **sections)
    async with open_parts(settings) as parts:
        app = make_app(settings, parts, lambda: None)
        door = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=door, base_url="http://localhost") as client:
            yield client
