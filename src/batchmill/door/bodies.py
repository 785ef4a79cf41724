"""The body of a request as it comes, given up when the client stalls."""

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.requests import Request

from batchmill.domain.errors import Refused


class Stalled(Refused):
    """The client sent no more bytes in time."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client may send nothing in the middle of a body, in seconds."""

    idle_seconds: float = 60.0


def announced_bytes(request: Request) -> int | None:
    """How many bytes the body has, None where nobody knows."""
    text = request.headers.get("content-length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None


async def stream_body(request: Request, patience: Patience) -> AsyncGenerator[bytes]:
    """The body as it comes; raises Stalled, and ClientDisconnect from the framework."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(patience.idle_seconds):
                chunk = await anext(stream, b"")
        except TimeoutError:
            message = (
                f"The request stalled: no byte of its body came for "
                f"{patience.idle_seconds:g} seconds. Send it again."
            )
            raise Stalled(message, code="request_timeout") from None
        if not chunk:
            return
        yield chunk
