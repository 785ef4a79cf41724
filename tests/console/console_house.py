"""A console to visit in this process: the whole door of ``api_house``, and the console beside it.

``open_console`` asks for no key; with ``needs_keys`` it does, and ``sign_in``
begins a session. Actions need the token of a page: ``visitor.act`` takes it
from one, as the page's own script does.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2
from api_house import House, open_house

from batchmill.console import BASE, Fittings, create_console
from batchmill.domain.account import Role
from batchmill.domain.limits import Limits
from batchmill.domain.rates import Rate, RateRule
from batchmill.service.caller import Caller
from batchmill.service.identity import Identity
from batchmill.service.keys import KeySpec
from batchmill.service.sessions import Sessions
from batchmill.service.throttle import Throttle

TTL = 3_600
SECRET = b"s" * 32
_TOKEN = re.compile(r'x-form-token": "([0-9a-f]+)')
RATES = {RateRule.SIGN_IN: Rate(5, 60.0), RateRule.BATCH_CANCEL: Rate(30, 60.0)}


@dataclass
class Visitor:
    """A browser without scripts: it keeps cookies, and sends what a page's script would."""

    client: httpx2.AsyncClient
    house: House
    sessions: Sessions

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """A page, as it is first loaded."""
        return await self.client.get(BASE + path, headers=headers)

    async def renew(self, path: str, block: str = "live") -> httpx2.Response:
        """A part of a page, as the page asks for it while it is open."""
        return await self.get(path, **{"hx-request": "true", "hx-target": block})

    async def act(
        self, path: str, fields: Mapping[str, Any] | None = None, **headers: str
    ) -> httpx2.Response:
        """Do something, with the token of a page."""
        sent = {"hx-request": "true", "x-form-token": await self.token(), **headers}
        return await self.client.post(BASE + path, data=dict(fields or {}), headers=sent)

    async def token(self) -> str:
        """The token that pages of this session carry."""
        page = await self.get("/batches")
        found = _TOKEN.search(page.text)
        assert found, page.text[:500]
        return found[1]

    async def make_key(self, role: Role = Role.ADMIN, **spec: Any) -> str:
        """The secret of a new key of the operator's account."""
        made = await self.house.services.admin.keys.create(Caller(), KeySpec("k", role, **spec))
        return made.secret

    async def sign_in(self, secret: str, **headers: str) -> httpx2.Response:
        """Begin a session."""
        return await self.client.post(f"{BASE}/sign-in", data={"key": secret}, headers=headers)


@asynccontextmanager
async def open_console(
    root: Path, *, needs_keys: bool = False, limits: Limits | None = None, **house: Any
) -> AsyncIterator[Visitor]:
    """A console over an empty house in ``root``; ``house`` are arguments of ``open_house``."""
    async with open_house(root, limits=limits, **house) as opened:
        identity = Identity(store=opened.store, clock=opened.clock) if needs_keys else None
        throttle = Throttle(RATES, opened.store.rates, opened.clock)
        sessions = Sessions(
            identity=identity,
            throttle=throttle,
            store=opened.store,
            clock=opened.clock,
            secret=SECRET,
            ttl=TTL,
        )
        fittings = Fittings(
            sessions, throttle, opened.clock, limits=limits or Limits(), scratch=root
        )
        opened.app.mount(BASE, create_console(opened.services, fittings))
        transport = httpx2.ASGITransport(app=opened.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield Visitor(client, opened, sessions)


class _Reader(HTMLParser):
    """The text that a page shows."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data.strip())


def text_of(page: httpx2.Response) -> str:
    """What a page says, without its markup, words apart by single spaces."""
    reader = _Reader()
    reader.feed(page.text)
    return re.sub(r"\s+", " ", " ".join(reader.words))
