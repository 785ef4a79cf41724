"""The files that pages need: styles, scripts, pictures; read once, and named by what they hold.

A page asks for ``console.css?v=…`` with a digest of the bytes, so that a browser
may keep them for good and still sees a new release at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "jsonl": "application/jsonl",
    "svg": "image/svg+xml",
}
_FOR_GOOD: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file's bytes, their type, and a digest that changes with them."""

    body: bytes
    media_type: str
    version: str


class Assets:
    """All files below ``static``, held in memory: a few hundred kilobytes."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._assets: Mapping[str, Asset] = dict(_read(files(__package__) / "static"))

    def url(self, name: str) -> str:
        """Where a page finds the asset; raises KeyError for one that is not there."""
        return f"{self._base}/static/{name}?v={self._assets[name].version}"

    async def serve(self, request: Request) -> Response:
        """The asset that the path names."""
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            raise HTTPException(404)
        headers = {"cache-control": _FOR_GOOD, "x-content-type-options": "nosniff"}
        return Response(asset.body, headers=headers, media_type=asset.media_type)


def _read(folder: Traversable, prefix: str = "") -> list[tuple[str, Asset]]:
    found: list[tuple[str, Asset]] = []
    for entry in folder.iterdir():
        name = prefix + entry.name
        if entry.is_dir():
            found += _read(entry, f"{name}/")
        elif name.rpartition(".")[2] in _TYPES:
            found.append((name, _asset(name, entry.read_bytes())))
    return found


def _asset(name: str, body: bytes) -> Asset:
    return Asset(body, _TYPES[name.rpartition(".")[2]], sha256(body).hexdigest()[:12])
