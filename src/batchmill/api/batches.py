"""Batches over HTTP, and their live results."""

from datetime import tzinfo
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from batchmill.api import faults, samples, wire
from batchmill.api.bodies import read_json
from batchmill.api.docs import Success, json_body, operation
from batchmill.api.doorkeeper import caller_of
from batchmill.api.routes import add_get, given
from batchmill.api.times import read_after, read_before
from batchmill.domain.batch import Status
from batchmill.domain.errors import InvalidRequest
from batchmill.domain.rates import RateRule
from batchmill.door.access import Access
from batchmill.door.bodies import Patience
from batchmill.ports import BatchQuery
from batchmill.service.batches import Batches, BatchSpec
from batchmill.service.refusals import invalid_value

_MAX_PAGE: Final = 100
_PAGE: Final = 20
_MAX_INPUTS: Final = 20


class BatchRoutes:
    """The operations of batches."""

    def __init__(self, batches: Batches, *, zone: tzinfo, patience: Patience) -> None:
        self._batches = batches
        self._zone = zone
        self._patience = patience

    def router(self, base: str) -> APIRouter:
        """The routes below ``base``."""
        router = APIRouter(prefix=base, tags=["Batches"])
        one = "/batches/{batch_id}"
        router.add_api_route("/batches", self.create, methods=["POST"], **_CREATE)
        add_get(router, "/batches", self.list, **_LIST)
        add_get(router, one, self.retrieve, **_RETRIEVE)
        router.add_api_route(f"{one}/cancel", self.cancel, methods=["POST"], **_CANCEL)
        return router

    async def create(self, request: Request) -> Response:
        """Create a batch."""
        body = await read_json(request, wire.CreateBatch, self._patience)
        key = _idempotency_key(request.headers.get("idempotency-key"), body.idempotency_key)
        output = body.output_expires_after
        spec = BatchSpec(
            input_file_id=body.input_file_id,
            endpoint=body.endpoint,
            completion_window=body.completion_window,
            metadata=body.metadata,
            output_expires_after=output.seconds if output else None,
            budget=body.batchmill.budget if body.batchmill else None,
        )
        state = await self._batches.create(caller_of(request), spec, key)
        return wire.answer(wire.batch_object(state))

    async def list(
        self,
        request: Request,
        after: Annotated[str | None, Query(description="The last id of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = _PAGE,
        ds_name: Annotated[str | None, Query(description="A part of the batch's name.")] = None,
        input_file_ids: Annotated[
            str | None, Query(description="At most 20, with commas between.")
        ] = None,
        status: Annotated[
            list[str] | None, Query(description="With commas between, or repeated.")
        ] = None,
        create_after: Annotated[str | None, Query(examples=["20250306123000"])] = None,
        create_before: Annotated[str | None, Query(examples=["20250306123000"])] = None,
    ) -> Response:
        """A page of batches."""
        query = BatchQuery(
            limit=limit,
            after=given(after, "after"),
            name_contains=given(ds_name, "ds_name"),
            input_file_ids=_read_inputs(given(input_file_ids, "input_file_ids") or ""),
            statuses=_read_statuses(",".join(status or ())),
            created_after=read_after(create_after, self._zone),
            created_before=read_before(create_before, self._zone),
        )
        return wire.answer(wire.batch_list(await self._batches.list(caller_of(request), query)))

    async def retrieve(self, request: Request, batch_id: str) -> Response:
        """One batch."""
        state = await self._batches.retrieve(caller_of(request), batch_id)
        return wire.answer(wire.batch_object(state))

    async def cancel(self, request: Request, batch_id: str) -> Response:
        """Ask a batch to stop."""
        state = await self._batches.cancel(caller_of(request), batch_id)
        return wire.answer(wire.batch_object(state))


def _idempotency_key(header: str | None, field: str | None) -> str | None:
    if header is not None and field is not None and header != field:
        message = "The header 'Idempotency-Key' and the field 'idempotency_key' differ: send one."
        raise InvalidRequest(message, param="idempotency_key", code="invalid_value")
    return header if header is not None else field


def _read_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _read_inputs(text: str) -> tuple[str, ...]:
    inputs = _read_list(text)
    if len(inputs) > _MAX_INPUTS:
        message = (
            f"Invalid 'input_file_ids': at most {_MAX_INPUTS} ids are accepted, "
            f"but got {len(inputs)}."
        )
        raise InvalidRequest(message, param="input_file_ids", code="invalid_value")
    return inputs


def _read_statuses(text: str) -> tuple[Status, ...]:
    names = _read_list(text)
    for name in names:
        if name not in Status.__members__.values():
            raise invalid_value(name, list(Status), "status")
    return tuple(Status(name) for name in names)


_OK = [
    Success(
        "The batch.",
        wire.BatchObject,
        {"running": samples.BATCH_RUNNING, "rejected": samples.BATCH_REJECTED},
    )
]
_CREATE: dict[str, Any] = operation(
    "createBatch",
    "Create a batch",
    "Begins to run a file. The file is validated afterwards: an input that is missing or at fault "
    "makes the batch `failed`. With an `Idempotency-Key` the same request answers the same batch.",
    access=Access.WRITE,
    rate=RateRule.BATCH_CREATE,
    success=[Success("The batch.", wire.BatchObject, {"new": samples.BATCH_NEW})],
    errors=[
        faults.BAD_JSON,
        faults.BAD_TYPE,
        faults.BAD_ENDPOINT,
        faults.BAD_WINDOW,
        faults.STALLED,
        faults.KEY_REUSED,
        faults.TOO_MANY_BATCHES,
        faults.LIMIT_REACHED,
        faults.BAD_BUDGET,
        faults.DISK_FULL,
    ],
    body=json_body(wire.CreateBatch, samples.NEW_BATCH),
)
_LIST: dict[str, Any] = operation(
    "listBatches",
    "List batches",
    "A page of the last 30 days, newest first. The filters combine with AND; times are read in "
    "the server's `list_timezone`.",
    access=Access.READ,
    rate=RateRule.BATCH_LIST,
    success=[Success("A page.", wire.BatchList, {"batches": samples.BATCHES})],
    errors=[faults.BAD_LIMIT, faults.BAD_TIME, faults.BATCH_UNKNOWN],
)
_RETRIEVE: dict[str, Any] = operation(
    "retrieveBatch",
    "Retrieve a batch",
    "How a batch stands. The ids of its files are null until it is at its end.",
    access=Access.READ,
    rate=RateRule.BATCH_RETRIEVE,
    success=_OK,
    errors=[faults.BATCH_UNKNOWN],
)
_CANCEL: dict[str, Any] = operation(
    "cancelBatch",
    "Cancel a batch",
    "Sends nothing more of it. What was answered is kept; the rest goes to the error file. A batch "
    "that is being cancelled, or was, stays as it is.",
    access=Access.WRITE,
    rate=RateRule.BATCH_CANCEL,
    success=_OK,
    errors=[faults.BATCH_UNKNOWN, faults.BATCH_ENDED, faults.DISK_FULL],
)
