"""Every page that the console routes to, and a server stocked so that each has something to show.

A new page is found by its route. One whose address has a part of its own kind
needs an entry in ``Stock.fill``, and fails until it has one.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from browser_server import MODEL, Server, chat_line, serving
from starlette.routing import Route

from batchmill.console import Fittings, create_console
from batchmill.upstream.mock import Script

# Not pages: files, where to begin, and what catches all that is not there.
_APART = ("/static/{name:path}", "/", "/{rest:path}")
# Files to keep; all else is a page.
_FILES = re.compile(r"(\.csv|\.jsonl|/content|/raw)$")
_PART = re.compile(r"\{(\w+)(?::\w+)?\}")
# What a page of its own is nothing without.
_QUERIES = {"/monitoring/models": f"?model={MODEL}"}
_FLAKY = Script(rate_5xx=0.5)


def page_routes() -> list[str]:
    """The paths of all pages, below the console's base."""
    return [path for path in _routes() if not _FILES.search(path)]


def file_routes() -> list[str]:
    """The paths of all files that can be downloaded."""
    return [path for path in _routes() if _FILES.search(path)]


def _routes() -> list[str]:
    needed = [one.name for one in fields(Fittings) if one.default is one.default_factory is MISSING]
    app = create_console(MagicMock(), Fittings(**{name: MagicMock() for name in needed}))
    routes = [route for route in app.routes if isinstance(route, Route)]
    paths = [route.path for route in routes if route.methods and "GET" in route.methods]
    return sorted({path for path in paths if path not in _APART})


@dataclass(frozen=True)
class Stock:
    """A server on which every page has something to show, and the ids that pages are found by."""

    server: Server
    ids: Mapping[str, str]

    def address(self, path: str) -> str:
        """The address of a page of the route ``path``."""
        return _PART.sub(lambda part: self.ids[part[1]], path) + _QUERIES.get(path, "")


@contextmanager
def stocked(folder: Path, *, keyed: bool = True, mark: str = "") -> Iterator[Stock]:
    """A stocked server. ``mark`` is in every text that a user has given."""
    with serving(folder, keyed=keyed) as server:
        yield Stock(server, _fill(server, mark))


def _fill(server: Server, mark: str) -> dict[str, str]:
    room = server.ask("POST", "/admin/workspaces", json={"name": f"Evaluations{mark}"})
    key = {"name": f"Nightly{mark}", "workspace": room["id"]}
    made = server.ask("POST", "/admin/keys", json=key)
    hook = server.ask("POST", "/webhook_endpoints", json={**_HOOK, "name": f"Pipeline{mark}"})
    server.ask("POST", "/admin/caps", json={"scope": "account", "limit": "20.00"})
    ids = _run_batches(server, mark)
    deliveries = server.ask("GET", "/webhook_deliveries")["data"]
    return {
        **ids,
        "key_id": made["id"],
        "endpoint_id": hook["id"],
        "delivery_id": deliveries[0]["id"],
        "number": "1",
    }


_HOOK = {
    "url": "http://127.0.0.1:9/in",
    "event_types": ["batch.completed", "batch.failed"],
}


def _run_batches(server: Server, mark: str) -> dict[str, str]:
    """One that has failed lines, one that cannot be read, one that is cancelled."""
    server.upstream.play(_FLAKY)
    lines = [chat_line(at, f"Question {at}{mark}", custom_id=f"{at}{mark}") for at in range(30)]
    file_id = server.upload(lines, f"reviews{mark}.jsonl")
    words = {"description": f"Tone and topic{mark}", f"team{mark}"[:64]: f"search{mark}"}
    batch = server.create(file_id, name=f"Reviews{mark}", **words)
    server.wait(batch)
    server.upstream.play(Script())
    faulty = [lines[0], lines[0], {"custom_id": mark or "x"}]
    server.wait(server.submit(faulty, name=f"With faults{mark}"))
    server.upstream.hold()
    cancelled = server.submit(lines[:5], name=f"Stopped{mark}")
    server.ask("POST", f"/batches/{cancelled}/cancel")
    server.upstream.release()
    server.wait(cancelled)
    return {"batch_id": batch, "file_id": file_id}


def texts_of(found: Mapping[str, Any]) -> str:
    """A violation that axe found, in a line a node."""
    nodes = (f"    {node['target']}: {node['failureSummary']}" for node in found["nodes"][:5])
    return "\n".join([f"{found['id']} ({found['impact']}): {found['help']}", *nodes])
