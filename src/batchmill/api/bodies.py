"""JSON bodies: read whole within a bound, and held against their shape."""

from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from batchmill.api.errors import explain_finding
from batchmill.domain.errors import TooLarge
from batchmill.door.bodies import Patience, stream_body

MAX_JSON_BYTES: Final = 1024 * 1024

Shape = TypeVar("Shape", bound=BaseModel)


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
