"""Files taken in from a browser: the body is the file itself, streamed on as it comes.

A table becomes an input file on its way. What is refused, or given up by the
visitor, leaves nothing behind; the service sees to that.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import PurePath
from typing import Final
from urllib.parse import unquote

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from batchmill.console.entry import action
from batchmill.console.visit import HEADERS, Visit
from batchmill.domain.convert import CHAT, CsvRules
from batchmill.domain.errors import BatchmillError, InvalidRequest
from batchmill.domain.file import File, Purpose
from batchmill.domain.limits import MB, Limits
from batchmill.domain.rates import RateRule
from batchmill.door.access import Access
from batchmill.door.bodies import announced_bytes, stream_body
from batchmill.door.statuses import STATUSES
from batchmill.service.files import FileSpec
from batchmill.service.refusals import invalid_value, too_large
from batchmill.service.services import Services
from batchmill.service.streams import closing
from batchmill.service.tables import Tables

SYSTEM_HEADER: Final = "x-table-system"
JSONL, CSV = "jsonl", "csv"

_BLOCK_BYTES: Final = MB
_DELIMITERS: Final = {"comma": ",", "semicolon": ";", "tab": "\t"}


class UploadActions:
    """``POST /uploads``, for every page that has a file to send."""

    def __init__(self, services: Services, *, limits: Limits) -> None:
        self._files = services.files
        self._limits = limits
        self._tables = Tables(limits)

    def routes(self) -> Sequence[BaseRoute]:
        """The action, below the console's base."""
        return [action("/uploads", self.upload, Access.WRITE, rate=RateRule.FILE_UPLOAD)]

    async def upload(self, visit: Visit) -> Response:
        """Take a file in; answers JSON, as the script that sends it wants it."""
        try:
            file = await self._receive(visit)
        except BatchmillError as error:
            status = STATUSES.get(type(error), 500)
            return JSONResponse({"message": error.message}, status, headers=dict(HEADERS))
        told = {"id": file.id, "filename": file.filename, "bytes": file.bytes}
        return JSONResponse(told, 201, headers=dict(HEADERS))

    async def _receive(self, visit: Visit) -> File:
        kind = visit.value("kind", JSONL)
        if kind not in {JSONL, CSV}:
            raise invalid_value(kind, [JSONL, CSV], "kind")
        size = self._announced(visit)
        blocks: AsyncIterator[bytes] = _blocks(stream_body(visit.request, visit.desk.patience))
        name = visit.value("filename")
        if kind == CSV:
            # nobody knows how large the requests are that it becomes
            name, size = f"{PurePath(name).stem or 'table'}.jsonl", None
            blocks = self._tables.requests(blocks, read_rules(visit))
        async with closing(blocks), self._files.draft(visit.caller, size) as draft:
            async for block in blocks:
                await draft.write(block)
            return await self._files.keep(visit.caller, draft, FileSpec(name, Purpose.BATCH))

    def _announced(self, visit: Visit) -> int | None:
        """How many bytes come, None where nobody knows; raises TooLarge before one is read."""
        size = announced_bytes(visit.request)
        if size is not None and size > self._limits.max_file_bytes:
            raise too_large(self._limits.max_file_bytes)
        return size


def read_rules(visit: Visit) -> CsvRules:
    """How the address wants a table read; raises InvalidRequest.

    The system message is a header, percent-encoded: addresses are written into logs on the way.
    """
    model = visit.value("model")
    if not model:
        raise InvalidRequest("Name the model that the rows are sent to.", param="model")
    delimiter = visit.value("delimiter", "comma")
    if delimiter not in _DELIMITERS:
        raise invalid_value(delimiter, list(_DELIMITERS), "delimiter")
    return CsvRules(
        model=model,
        endpoint=visit.value("endpoint") or CHAT,
        system=unquote(visit.request.headers.get(SYSTEM_HEADER, "")) or None,
        id_column=visit.value("id_column") or None,
        prompt_column=visit.value("prompt_column") or "2",
        header=True if visit.value("header") else None,
        delimiter=_DELIMITERS[delimiter],
    )


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Chunks put together until they are worth a write."""
    held = bytearray()
    async with closing(chunks) as stream:
        async for chunk in stream:
            held += chunk
            if len(held) >= _BLOCK_BYTES:
                yield bytes(held)
                held.clear()
    if held:
        yield bytes(held)
