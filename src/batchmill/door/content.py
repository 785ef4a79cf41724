"""Sending bytes to keep: a file of the store, whole or in part, and how any download is named.

Chunk by chunk, given up when the client goes away. What is sent is offered to
be saved, never to be shown: nothing in it may run where the console lives.
"""

from collections.abc import AsyncIterator, Mapping
from typing import BinaryIO, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from batchmill.domain.file import File
from batchmill.door.ranges import is_unchanged, wanted_span
from batchmill.service.caller import Caller
from batchmill.service.files import Files
from batchmill.service.streams import closing

JSONL: Final = "application/jsonl"
# The extension of ASGI by which a server sends a file, and the message that asks it to.
ZERO_COPY: Final = "http.response.zerocopysend"


class ContentResponse(StreamingResponse):
    """A streamed response that lets go of its stream as soon as it ends or is given up."""

    def __init__(
        self, chunks: AsyncIterator[bytes], status: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(chunks, status, headers)
        self._chunks = chunks

    async def stream_response(self, send: Send) -> None:
        """Send everything; the stream is closed however that ends."""
        async with closing(self._chunks):
            await super().stream_response(send)


class SentFile(Response):
    """Bytes ``[start, end)`` of an open file, sent by a server that can do so without copying."""

    def __init__(
        self, file: BinaryIO, span: tuple[int, int], status: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        self._file = file
        self._span = span

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send everything; the file is closed however that ends."""
        start, end = self._span
        span = {"offset": start, "count": end - start}
        with self._file as file:
            head = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **head})
            await send({"type": ZERO_COPY, "file": file, **span, "more_body": False})


async def send_file(request: Request, files: Files, caller: Caller, file: File) -> Response:
    """The bytes that are asked for; raises Unsatisfiable, and NotFound if the file went."""
    headers = _headers_of(file)
    if is_unchanged(request.headers, headers["etag"]):
        return Response(status_code=304, headers=headers)
    span = wanted_span(request.headers, headers["etag"], file.bytes)
    start, end = (span.start, span.end) if span else (0, file.bytes)
    headers |= {"content-length": str(end - start), "content-type": JSONL}
    if span:
        headers["content-range"] = span.content_range
    status = 206 if span else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    if ZERO_COPY in request.scope.get("extensions", ()):
        opened = await files.open(caller, file)
        if opened is not None:
            return SentFile(opened, (start, end), status, headers)
    chunks = await files.read(caller, file, start=start, end=end)
    return ContentResponse(chunks, status, headers)


def _headers_of(file: File) -> dict[str, str]:
    return {
        "etag": f'"{file.digest}"',
        "accept-ranges": "bytes",
        "content-disposition": attachment(file.filename, f"{file.id}.jsonl"),
        "x-content-type-options": "nosniff",
    }


def attachment(name: str, fallback: str) -> str:
    """The header that offers ``name``'s last part, or ``fallback`` where it has none.

    What is not plain goes into the extended form alone.
    """
    offered = name.replace("\\", "/").rpartition("/")[2] or fallback
    plain = "".join(
        char if char.isascii() and (char.isalnum() or char in "._- ") else "_" for char in offered
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(offered, safe='')}"
