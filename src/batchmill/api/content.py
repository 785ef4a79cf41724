"""Sending a file's bytes: chunk by chunk, given up when the client goes away."""

from collections.abc import AsyncIterator, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Send

from batchmill.service.streams import closing


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
