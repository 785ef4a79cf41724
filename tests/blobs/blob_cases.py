"""What the blob tests share: a store of each kind, and short verbs over the port.

Another kind of store joins the conformance suite by one more entry in KINDS.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import pytest
from bucket_server import new_place

from batchmill.blobs import LocalBlobs
from batchmill.blobs.bucket import open_bucket
from batchmill.blobs.remote import RemoteBlobs
from batchmill.ports import Blobs, StoredBlob

KINDS: dict[str, Callable[[Path], Blobs]] = {
    "local": LocalBlobs,
    "memory": lambda _: RemoteBlobs(open_bucket("memory://", {})),
    "s3": lambda _: RemoteBlobs(new_place().open()),
}


def with_blobs(test: Callable[[Blobs], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test once with an empty store of each kind."""

    @pytest.mark.parametrize("kind", sorted(KINDS))
    def run(kind: str, tmp_path: Path) -> None:
        asyncio.run(test(KINDS[kind](tmp_path / "blobs")))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def put(blobs: Blobs, key: str, chunks: Iterable[bytes]) -> StoredBlob:
    writer = await blobs.create(key)
    for chunk in chunks:
        await writer.write(chunk)
    return await writer.commit()


async def fetch(blobs: Blobs, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(key, start, end)])


def bytes_under(root: Path) -> list[Path]:
    """Every file that holds bytes of a blob, finished or not."""
    marks = {"owner", "guard"}
    return sorted(p for p in root.rglob("*") if p.is_file() and p.name not in marks)
