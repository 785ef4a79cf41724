"""Files over HTTP: multipart in, JSON and bytes out."""

import asyncio
from datetime import tzinfo
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from batchmill.api import faults, samples, wire
from batchmill.api.docs import Success, form_body, operation
from batchmill.api.doorkeeper import caller_of
from batchmill.api.errors import envelope
from batchmill.api.expiry import read_expiry
from batchmill.api.multipart import FormRule, announced_size, receive_form
from batchmill.api.routes import add_get, given
from batchmill.api.times import read_after, read_before
from batchmill.domain.file import File
from batchmill.domain.limits import Limits
from batchmill.domain.rates import RateRule
from batchmill.door.access import Access
from batchmill.door.bodies import Patience
from batchmill.door.content import send_file
from batchmill.door.ranges import Unsatisfiable
from batchmill.ports import FileQuery
from batchmill.service.files import Files, FileSpec, check_purpose
from batchmill.service.refusals import missing_parameter, too_large

_MAX_PAGE = 10_000
_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")


class FileRoutes:
    """The operations of files."""

    def __init__(self, files: Files, *, limits: Limits, zone: tzinfo, patience: Patience) -> None:
        self._files = files
        self._zone = zone
        self._patience = patience
        self._rule = FormRule(
            file_field="file",
            fields=_FIELDS,
            max_file_bytes=limits.max_file_bytes,
            too_large=lambda: too_large(limits.max_file_bytes),
            check=_check_field,
        )

    def router(self, base: str) -> APIRouter:
        """The routes below ``base``."""
        router = APIRouter(prefix=base, tags=["Files"])
        one, content = "/files/{file_id}", "/files/{file_id}/content"
        router.add_api_route("/files", self.create, methods=["POST"], **_CREATE)
        add_get(router, "/files", self.list, **_LIST)
        add_get(router, one, self.retrieve, **_RETRIEVE)
        router.add_api_route(one, self.delete, methods=["DELETE"], **_DELETE)
        router.add_api_route(content, self.content, methods=["GET"], **_CONTENT)
        router.add_api_route(content, self.content, methods=["HEAD"], **_CONTENT_HEAD)
        return router

    async def create(self, request: Request) -> Response:
        """Take a file in."""
        caller, announced = caller_of(request), announced_size(request, self._rule)
        async with self._files.draft(caller, announced) as draft:
            form = await receive_form(request, self._rule, draft, self._patience)
            if "purpose" not in form.fields:
                raise missing_parameter("purpose")
            spec = FileSpec(form.filename or "", form.fields["purpose"], read_expiry(form.fields))
            file = await self._files.keep(caller, draft, spec)
        return wire.answer(wire.file_object(file))

    async def list(
        self,
        request: Request,
        after: Annotated[str | None, Query(description="The last id of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = _MAX_PAGE,
        order: Annotated[Literal["asc", "desc"], Query(description="By creation.")] = "desc",
        purpose: Annotated[str | None, Query(description="`batch` or `batch_output`.")] = None,
        create_after: Annotated[str | None, Query(examples=["20250306123000"])] = None,
        create_before: Annotated[str | None, Query(examples=["2025-03-06 12:30:00"])] = None,
    ) -> Response:
        """A page of files."""
        query = FileQuery(
            limit=limit,
            after=given(after, "after"),
            purpose=given(purpose, "purpose"),
            descending=order == "desc",
            created_after=read_after(create_after, self._zone),
            created_before=read_before(create_before, self._zone),
        )
        page = await self._files.list(caller_of(request), query)
        # ten thousand files take a quarter of a second to write down
        return await asyncio.to_thread(lambda: wire.answer(wire.file_list(page)))

    async def retrieve(self, request: Request, file_id: str) -> Response:
        """One file."""
        return wire.answer(
            wire.file_object(await self._files.retrieve(caller_of(request), file_id))
        )

    async def delete(self, request: Request, file_id: str) -> Response:
        """Delete a file."""
        await self._files.delete(caller_of(request), file_id)
        return wire.answer(wire.FileDeleted(id=file_id))

    async def content(self, request: Request, file_id: str) -> Response:
        """The bytes of a file, or some of them."""
        file = await self._files.retrieve(caller_of(request), file_id)
        try:
            return await send_file(request, self._files, caller_of(request), file)
        except Unsatisfiable:
            return _unsatisfiable(file)


def _check_field(name: str, value: str) -> None:
    if name == "purpose":
        check_purpose(value)


def _unsatisfiable(file: File) -> Response:
    return envelope(
        416,
        f"The range begins behind the end of the file, which has {file.bytes} bytes.",
        param="range",
        headers={"content-range": f"bytes */{file.bytes}", "accept-ranges": "bytes"},
    )


_JSONL = "application/jsonl"
_CREATE: dict[str, Any] = operation(
    "createFile",
    "Upload a file",
    "Takes a file in one multipart request, its fields in any order and with or without a length. "
    "The file is durable and readable before this answers. Refused at once is only what can never "
    "be a batch file; every other fault is found when a batch is validated.",
    access=Access.WRITE,
    rate=RateRule.FILE_UPLOAD,
    success=[Success("The file.", wire.FileObject, {"file": samples.FILE})],
    errors=[
        faults.FILE_MISSING,
        faults.PURPOSE,
        faults.NOT_JSONL,
        faults.TOO_LARGE,
        faults.STALLED,
        faults.QUOTA,
        faults.DISK_FULL,
    ],
    body=form_body(
        "file",
        {
            "file": "The JSONL, UTF-8.",
            "purpose": "`batch`.",
            "expires_after[anchor]": "`created_at`.",
            "expires_after[seconds]": "3600 (an hour) to 2592000 (30 days).",
        },
        ["file", "purpose"],
    ),
)
_LIST: dict[str, Any] = operation(
    "listFiles",
    "List files",
    "A page of files by creation, newest first unless asked otherwise. Times are read in the "
    "server's `list_timezone`.",
    access=Access.READ,
    rate=RateRule.FILE_OTHER,
    success=[Success("A page.", wire.FileList, {"files": samples.FILES})],
    errors=[faults.BAD_LIMIT, faults.BAD_TIME, faults.FILE_CURSOR_UNKNOWN],
)
_RETRIEVE: dict[str, Any] = operation(
    "retrieveFile",
    "Retrieve a file",
    "What is known of a file.",
    access=Access.READ,
    rate=RateRule.FILE_OTHER,
    success=[Success("The file.", wire.FileObject, {"file": samples.FILE})],
    errors=[faults.FILE_UNKNOWN],
)
_DELETE: dict[str, Any] = operation(
    "deleteFile",
    "Delete a file",
    "Deletes a file and its bytes. The input of an unfinished batch cannot be deleted.",
    access=Access.WRITE,
    rate=RateRule.FILE_OTHER,
    success=[Success("It is gone.", wire.FileDeleted, {"deleted": samples.FILE_DELETED})],
    errors=[faults.FILE_UNKNOWN, faults.FILE_IN_USE],
)
_CONTENT_PARTS: dict[str, Any] = {
    "success": [
        Success(
            "The bytes.",
            examples={"results": samples.RESULT_LINE},
            media_type=_JSONL,
            headers={"etag": "The SHA-256 of the bytes.", "accept-ranges": "`bytes`."},
        ),
        Success(
            "The bytes asked for.",
            examples={"part": samples.RESULT_LINE[:40]},
            media_type=_JSONL,
            status=206,
            headers={"content-range": "Which bytes of how many."},
        ),
        Success("The client has these bytes already (`If-None-Match`).", status=304),
    ],
    "errors": [faults.FILE_UNKNOWN, faults.BAD_RANGE],
}
_CONTENT: dict[str, Any] = operation(
    "downloadFile",
    "Read a file's content",
    "The bytes of an input, output or error file. Honours `Range` (one range), `If-Range` and "
    "`If-None-Match`.",
    access=Access.READ,
    **_CONTENT_PARTS,
)
_CONTENT_HEAD: dict[str, Any] = operation(
    "headFileContent",
    "Ask about a file's content",
    "The headers of the same GET, without the bytes.",
    access=Access.READ,
    **_CONTENT_PARTS,
)
