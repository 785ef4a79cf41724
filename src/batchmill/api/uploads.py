"""Uploads over HTTP: a file in parts."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from batchmill.api import faults, samples, wire
from batchmill.api.bodies import read_json
from batchmill.api.docs import Success, form_body, json_body, operation
from batchmill.api.doorkeeper import caller_of
from batchmill.api.multipart import FormRule, receive_form
from batchmill.domain.limits import Limits
from batchmill.domain.rates import RateRule
from batchmill.door.access import Access
from batchmill.door.bodies import Patience
from batchmill.service.files import FileSpec
from batchmill.service.refusals import too_large
from batchmill.service.uploads import Uploads, UploadSpec


class UploadRoutes:
    """The operations of uploads."""

    def __init__(self, uploads: Uploads, *, limits: Limits, patience: Patience) -> None:
        self._uploads = uploads
        self._patience = patience
        self._rule = FormRule(
            file_field="data",
            fields=(),
            max_file_bytes=limits.max_part_bytes,
            too_large=lambda: too_large(limits.max_part_bytes, param="data"),
        )

    def router(self, base: str) -> APIRouter:
        """The routes below ``base``."""
        router = APIRouter(prefix=base, tags=["Uploads"])
        one = "/uploads/{upload_id}"
        router.add_api_route("/uploads", self.create, methods=["POST"], **_CREATE)
        router.add_api_route(f"{one}/parts", self.add_part, methods=["POST"], **_PART)
        router.add_api_route(f"{one}/complete", self.complete, methods=["POST"], **_COMPLETE)
        router.add_api_route(f"{one}/cancel", self.cancel, methods=["POST"], **_CANCEL)
        return router

    async def create(self, request: Request) -> Response:
        """Announce a file."""
        body = await read_json(request, wire.CreateUpload, self._patience)
        expires_after = body.expires_after.seconds if body.expires_after else None
        spec = UploadSpec(
            FileSpec(body.filename, body.purpose, expires_after), body.bytes, body.mime_type
        )
        return wire.answer(wire.upload_object(await self._uploads.create(caller_of(request), spec)))

    async def add_part(self, request: Request, upload_id: str) -> Response:
        """Take a part in."""
        caller = caller_of(request)
        async with self._uploads.begin_part(caller, upload_id) as draft:
            await receive_form(request, self._rule, draft, self._patience)
            part = await self._uploads.keep_part(caller, draft)
        return wire.answer(wire.part_object(part))

    async def complete(self, request: Request, upload_id: str) -> Response:
        """Make the parts a file."""
        body = await read_json(request, wire.CompleteUpload, self._patience)
        state = await self._uploads.complete(caller_of(request), upload_id, body.part_ids, body.md5)
        return wire.answer(wire.upload_object(state))

    async def cancel(self, request: Request, upload_id: str) -> Response:
        """Give the upload up."""
        state = await self._uploads.cancel(caller_of(request), upload_id)
        return wire.answer(wire.upload_object(state))


_OK = [Success("The upload.", wire.UploadObject, {"upload": samples.UPLOAD})]
_CREATE: dict[str, Any] = operation(
    "createUpload",
    "Begin an upload",
    "Announces a file that will come in parts. It must be completed within the hour.",
    access=Access.WRITE,
    rate=RateRule.FILE_OTHER,
    success=_OK,
    errors=[
        faults.BAD_JSON,
        faults.PURPOSE,
        faults.TOO_LARGE,
        faults.STALLED,
        faults.QUOTA,
        faults.DISK_FULL,
    ],
    body=json_body(wire.CreateUpload, samples.NEW_UPLOAD),
)
_PART: dict[str, Any] = operation(
    "addUploadPart",
    "Add a part",
    "Adds up to 64 MB to an upload. Parts may come in parallel and in any order.",
    access=Access.WRITE,
    rate=RateRule.FILE_UPLOAD,
    success=[Success("The part.", wire.UploadPartObject, {"part": samples.PART})],
    errors=[
        faults.UPLOAD_UNKNOWN,
        faults.UPLOAD_ENDED,
        faults.TOO_LARGE,
        faults.STALLED,
        faults.DISK_FULL,
    ],
    body=form_body("data", {"data": "The bytes of the part."}, ["data"]),
)
_COMPLETE: dict[str, Any] = operation(
    "completeUpload",
    "Complete an upload",
    "Joins the parts in the order named into a file, with the checks of a plain upload. "
    "Completing again answers the same.",
    access=Access.WRITE,
    rate=RateRule.FILE_OTHER,
    success=_OK,
    errors=[
        faults.BAD_JSON,
        faults.UPLOAD_UNKNOWN,
        faults.UPLOAD_ENDED,
        faults.PART_UNKNOWN,
        faults.SIZE_MISMATCH,
        faults.NOT_JSONL,
        faults.STALLED,
        faults.QUOTA,
        faults.DISK_FULL,
    ],
    body=json_body(wire.CompleteUpload, samples.COMPLETE),
)
_CANCEL: dict[str, Any] = operation(
    "cancelUpload",
    "Cancel an upload",
    "Gives an upload up; its parts are deleted.",
    access=Access.WRITE,
    rate=RateRule.FILE_OTHER,
    success=_OK,
    errors=[faults.UPLOAD_UNKNOWN, faults.UPLOAD_ENDED],
)
