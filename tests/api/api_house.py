"""A house to knock at: the whole door on a real database and real blobs, in this process.

The journal is written by hand, so that a test decides what has settled. Every
answer that passes is held against the API's own description.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from fastapi import FastAPI
from hand_parts import HandClock, HandJournal
from structlog.testing import capture_logs

from batchmill.api.app import Door, create_app
from batchmill.api.docs import describe
from batchmill.api.health import Probes
from batchmill.blobs import LocalBlobs
from batchmill.domain.batch import Batch, Event, advance
from batchmill.domain.catalog import TEST_ENDPOINT, TEST_MODEL, Catalog
from batchmill.domain.limits import Limits, Profile
from batchmill.domain.pricing import ModelPrice, PriceTable, Tier
from batchmill.ports import Progress
from batchmill.service.accounting import make_accounting
from batchmill.service.administration import make_administration
from batchmill.service.batches import Batches, Rules
from batchmill.service.course import Course
from batchmill.service.error_groups import ErrorGroups
from batchmill.service.estimates import Estimates
from batchmill.service.files import Files
from batchmill.service.lines import Lines
from batchmill.service.model_board import Backing, ModelBoard, Offer, Seat, UpstreamFigures
from batchmill.service.models import Models
from batchmill.service.reruns import Reruns
from batchmill.service.results import Results
from batchmill.service.services import Services
from batchmill.service.uploads import Uploads
from batchmill.service.webhooks import Webhooks
from batchmill.store import SqlStore, open_store
from batchmill.webhooks import Sender
from batchmill.wiring.upstream_signs import concurrency_in

T = TypeVar("T")

NOON = 1_760_000_000.5
CHAT = "/v1/chat/completions"
LINE = (
    b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions",'
    b'"body":{"model":"qwen-plus","messages":[]}}\n'
)
CATALOG = Catalog(
    {
        "qwen-plus": frozenset({CHAT}),
        "Qwen/Qwen3-8B": frozenset({CHAT, "/v1/embeddings"}),
        TEST_MODEL: frozenset({TEST_ENDPOINT}),
    }
)
BACKINGS = {"qwen-plus": Backing((Seat("http://10.0.0.5:8000/v1", "10.0.0.5:8000"),))}
PRICES = PriceTable("1", (ModelPrice("qwen-plus", "USD", (Tier(Decimal("0.4"), Decimal("1.2")),)),))


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine to its end."""
    return asyncio.run(main)


@dataclass
class House:
    """Everything a test wants to look at or to turn."""

    app: FastAPI
    services: Services
    client: httpx2.AsyncClient
    store: SqlStore
    blobs: LocalBlobs
    journal: HandJournal
    clock: HandClock
    root: Path
    wakes: list[None] = field(default_factory=list)
    progress: dict[str, Progress] = field(default_factory=dict)
    figures: dict[tuple[str, str], UpstreamFigures] = field(default_factory=dict)
    engine: list[bool] = field(default_factory=lambda: [True])
    logged: list[Any] = field(default_factory=list)

    async def upload(self, content: bytes = LINE, **fields: Any) -> dict[str, Any]:
        answer = await self.client.post(
            "/v1/files", data={"purpose": "batch", **fields}, files={"file": ("in.jsonl", content)}
        )
        assert answer.status_code == 200, answer.text
        return as_object(answer)

    async def create_batch(self, **fields: Any) -> dict[str, Any]:
        answer = await self.client.post("/v1/batches", json=new_batch(**fields))
        assert answer.status_code == 200, answer.text
        return as_object(answer)

    async def batch(self, batch_id: str) -> Batch:
        batch = await self.store.batches.get("default", batch_id)
        assert batch is not None
        return batch

    async def move(self, batch_id: str, event: Event, **more: Any) -> Batch:
        before = await self.batch(batch_id)
        after = replace(advance(before, event, self.clock.now()), **more)
        assert await self.store.batches.move(before, after)
        return after

    def stored_bytes(self) -> list[Path]:
        """Every file below the blobs' folder that holds bytes, whole or partial."""
        files = (path for path in (self.root / "blobs").rglob("*") if path.is_file())
        return [path for path in files if path.stat().st_size > 0]


def new_batch(**fields: Any) -> dict[str, Any]:
    """The body of a create, with ``fields`` put in; None takes a field out."""
    body = {
        "input_file_id": "file-batch-000000000000000000000000",
        "endpoint": CHAT,
        "completion_window": "24h",
        **fields,
    }
    return {name: value for name, value in body.items() if value is not ...}


def as_object(answer: httpx2.Response) -> dict[str, Any]:
    """The JSON object of an answer."""
    body = json.loads(answer.content)
    assert isinstance(body, dict)
    return body


def fault(answer: httpx2.Response) -> dict[str, Any]:
    """The error of an answer, whose envelope must be whole."""
    body = as_object(answer)
    assert set(body) == {"error"}, body
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    assert error["message"]
    assert isinstance(error["message"], str)
    assert isinstance(error["type"], str)
    return dict(error)


@asynccontextmanager
async def open_house(
    root: Path,
    *,
    limits: Limits | None = None,
    profile: Profile = Profile.QWEN,
    catalog: Catalog = CATALOG,
    shared: bool = False,
    private_hooks: bool = False,
    **door: Any,
) -> AsyncIterator[House]:
    """A house in ``root``; ``door`` are fields of Door. A shared one is on an open one's ground."""
    path = root / "house.db"
    store = await open_store(path) if shared else await _open_empty(path)
    try:
        house = _build(root, store, limits or Limits(), profile, catalog, private_hooks, door)
        with capture_logs() as house.logged:
            async with house.client:
                yield house
    finally:
        await store.close()


_template: list[bytes] = []


async def _open_empty(path: Path) -> SqlStore:
    """A new store; migrating is the slowest part of a house, so it is done once for them all."""
    if not _template:
        await (await open_store(path)).close()
        _template.append(_read(path))
    _write(path, _template[0])
    return await open_store(path)


def _read(path: Path) -> bytes:
    return path.read_bytes()


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _build(
    root: Path,
    store: SqlStore,
    limits: Limits,
    profile: Profile,
    catalog: Catalog,
    private_hooks: bool,
    door: dict[str, Any],
) -> House:
    blobs, clock, journal = LocalBlobs(root / "blobs"), HandClock(NOON), HandJournal()
    wakes: list[None] = []
    progress: dict[str, Progress] = {}
    figures: dict[tuple[str, str], UpstreamFigures] = {}
    engine = [True]
    files = Files(store=store.files, blobs=blobs, clock=clock, limits=limits)
    services = Services(
        files=files,
        uploads=Uploads(store=store, blobs=blobs, clock=clock, limits=limits),
        batches=Batches(
            store=store,
            clock=clock,
            rules=Rules(catalog, limits, profile, PRICES, private_hooks),
            wake=lambda: wakes.append(None),
            progress=progress.get,
            concurrency=lambda model: concurrency_in(figures, model),
        ),
        results=Results(store=store, blobs=blobs, journal=journal, limits=limits),
        lines=Lines(store=store, blobs=blobs, journal=journal, clock=clock),
        error_groups=ErrorGroups(store=store, blobs=blobs, journal=journal, clock=clock),
        reruns=Reruns(store=store, blobs=blobs, clock=clock, files=files, limits=limits),
        course=Course(store=store),
        models=Models(catalog, created=NOON),
        board=ModelBoard(
            offer=Offer(catalog, PRICES, BACKINGS),
            batches=store.batches,
            clock=clock,
            figures=lambda: figures if engine[0] else None,
            progress=progress.get,
        ),
        admin=make_administration(store, clock),
        accounting=make_accounting(store, clock, PRICES),
        estimates=Estimates(
            store=store,
            blobs=blobs,
            clock=clock,
            rules=Rules(catalog, limits, profile, PRICES, private_hooks),
            progress=progress.get,
        ),
        webhooks=Webhooks(
            store=store.webhooks,
            postman=Sender(timeout=60.0, allow_private=private_hooks),
            clock=clock,
            allow_private=private_hooks,
        ),
    )
    probes = Probes(store.ping, lambda: engine[0], lambda: b"# TYPE a gauge\na 1\n")
    app = create_app(services, probes, Door(limits=limits, **door))
    return House(
        app=app,
        services=services,
        client=client_of(app),
        store=store,
        blobs=blobs,
        journal=journal,
        clock=clock,
        root=root,
        wakes=wakes,
        progress=progress,
        figures=figures,
        engine=engine,
    )


def client_of(app: FastAPI) -> httpx2.AsyncClient:
    """A client whose every answer must be one that the API describes."""
    described = Described(app)
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app),
        base_url="http://localhost",
        event_hooks={"response": [described.check]},
    )


_described: list[dict[re.Pattern[str], Any]] = []


class Described:
    """Holds answers against the API's description, which is the same in every house."""

    def __init__(self, app: FastAPI) -> None:
        if not _described:
            paths = describe(app)["paths"]
            _described.append(
                {re.compile(re.sub(r"\{[a-z_:]+\}", _segment, path)): paths[path] for path in paths}
            )
        self._paths = _described[0]

    async def check(self, response: httpx2.Response) -> None:
        """Fail for a status that the description does not name."""
        path = response.request.url.path.replace("/compatible-mode/v1", "/v1")
        method = response.request.method.lower()
        assert response.headers["x-request-id"].startswith("req_")
        for pattern, operations in self._paths.items():
            if pattern.fullmatch(path):
                described = operations.get(method) or (method == "head" and operations.get("get"))
                if described:
                    assert str(response.status_code) in described["responses"], (
                        f"{method} {path} answered {response.status_code}, which is not described"
                    )
                return


def _segment(match: re.Match[str]) -> str:
    return ".+" if "model" in match[0] else "[^/]+"
