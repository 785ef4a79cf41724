"""Downloads: a file's bytes over the console's own session, as the API sends them with a key."""

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from batchmill.console.visit import Visit
from batchmill.door.content import send_file
from batchmill.door.ranges import Unsatisfiable
from batchmill.service.files import Files

# What is downloaded was written by strangers: should a browser show it after all, nothing runs.
DOWNLOAD_HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


async def send_download(visit: Visit, files: Files, file_id: str) -> Response:
    """The bytes that the browser asks for; raises NotFound."""
    file = await files.retrieve(visit.caller, file_id)
    try:
        response = await send_file(visit.request, files, visit.caller, file)
    except Unsatisfiable:
        response = Response(status_code=416, headers={"content-range": f"bytes */{file.bytes}"})
    response.headers.update(DOWNLOAD_HEADERS)
    # Kept to be gone on with, and never shown to another session without asking.
    response.headers["cache-control"] = "private, no-cache"
    response.headers["vary"] = "cookie"
    return response
