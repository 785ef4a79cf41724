"""Reading request bodies: streamed, bounded, and given up when the client stalls."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from batchmill.api.errors import Stalled, explain_finding
from batchmill.domain.errors import TooLarge

MAX_JSON_BYTES: Final = 1024 * 1024

Shape = TypeVar("Shape", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client may send nothing in the middle of a body, in seconds."""

    idle_seconds: float = 60.0


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


async def read_json(request: Request, shape: type[Shape], patience: Patience) -> Shape:
    """The body as ``shape``; raises InvalidRequest, TooLarge and Stalled."""
    body = bytearray()
    async for chunk in stream_body(request, patience):
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise TooLarge(f"The JSON of the request is larger than {MAX_JSON_BYTES} bytes.")
    try:
        return shape.model_validate_json(bytes(body), strict=True)
    except ValidationError as error:
        raise explain_finding(error.errors(include_url=False)[0]) from None
