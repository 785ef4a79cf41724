"""The workshop: what a tool makes is held in a file without a name until it is fetched.

It is made whole before a byte of it is sent: a browser that still sends reads
nothing, and what cannot be made must be told as a fault and not as half a file.
"""

import asyncio
import errno
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from batchmill.console.visit import Visit
from batchmill.domain.errors import BatchmillError, InvalidRequest, StorageFull
from batchmill.domain.limits import MB
from batchmill.door.bodies import announced_bytes, stream_body
from batchmill.door.content import ContentResponse
from batchmill.service.refusals import too_large
from batchmill.service.streams import closing

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Product:
    """What was made: a file without a name, gone when it is closed, and what is in it."""

    file: IO[bytes]
    size: int
    lines: int


@asynccontextmanager
async def receiving(visit: Visit, most: int) -> AsyncGenerator[AsyncGenerator[bytes]]:
    """The body of the request, of at most ``most`` bytes; raises TooLarge, and Stalled.

    Whatever became of it, the rest is read: a browser hears no answer while it sends.
    """
    if (announced_bytes(visit.request) or 0) > most:
        raise too_large(most)
    body = _bounded(stream_body(visit.request, visit.desk.patience), most)
    async with closing(body):
        try:
            yield body
        except BatchmillError:
            await _drain(body)
            raise
        await _drain(body)


async def make(blocks: AsyncIterator[bytes], folder: Path | None, most: int) -> Product:
    """Hold what comes in a file below ``folder``, None being the system's for such files.

    Raises InvalidRequest for more than ``most`` bytes, and StorageFull.
    """
    with _full_disk_told():
        file = await asyncio.to_thread(_nameless, folder)
    size = lines = 0
    try:
        async with closing(blocks):
            async for block in blocks:
                size, lines = size + len(block), lines + block.count(b"\n")
                _require_room(size, most)
                with _full_disk_told():
                    await asyncio.to_thread(file.write, block)
        with _full_disk_told():
            await asyncio.to_thread(file.seek, 0)
    except BaseException:
        file.close()
        raise
    return Product(file, size, lines)


class Delivery(ContentResponse):
    """Sends a product, and lets go of it however that ends."""

    def __init__(self, product: Product, headers: Mapping[str, str]) -> None:
        self._file = product.file
        length = {"content-length": str(product.size)}
        super().__init__(_blocks(product.file), 200, {**headers, **length})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; its file is closed in the end."""
        with self._file:
            await super().__call__(scope, receive, send)


async def _bounded(chunks: AsyncIterator[bytes], most: int) -> AsyncGenerator[bytes]:
    size = 0
    async with closing(chunks) as stream:
        async for chunk in stream:
            size += len(chunk)
            if size > most:
                raise too_large(most)
            yield chunk


async def _drain(body: AsyncIterator[bytes]) -> None:
    # who left, or stalls, has no answer to wait for
    with suppress(BatchmillError, ClientDisconnect):
        async for _ in body:
            pass


async def _blocks(file: IO[bytes]) -> AsyncGenerator[bytes]:
    while block := await asyncio.to_thread(file.read, MB):
        yield block


def _nameless(folder: Path | None) -> IO[bytes]:
    return TemporaryFile(dir=folder)


def _require_room(size: int, most: int) -> None:
    if size > most:
        shown = f"{most // MB} MB" if most % MB == 0 else f"{most} bytes"
        raise InvalidRequest(
            f"What comes out is larger than {shown}, the most that a file may have. "
            "Split the input, and convert its parts."
        )


@contextmanager
def _full_disk_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        message = "The disk is full, nothing was converted; make room in the data folder."
        raise StorageFull(message) from error
