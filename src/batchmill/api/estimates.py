"""Estimates over HTTP: what a batch would come to, before it is created."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from batchmill.api import faults, samples, wire
from batchmill.api.bodies import read_json
from batchmill.api.docs import Success, json_body, operation
from batchmill.api.doorkeeper import caller_of
from batchmill.domain.rates import RateRule
from batchmill.door.access import Access
from batchmill.door.bodies import Patience
from batchmill.service.estimates import Estimates, EstimateSpec


class EstimateRoutes:
    """The one operation of estimates."""

    def __init__(self, estimates: Estimates, *, patience: Patience) -> None:
        self._estimates = estimates
        self._patience = patience

    def router(self, base: str) -> APIRouter:
        """The route below ``base``."""
        router = APIRouter(prefix=base, tags=["Batches"])
        router.add_api_route("/batches/estimate", self.estimate, methods=["POST"], **_ESTIMATE)
        return router

    async def estimate(self, request: Request) -> Response:
        """What a batch would come to."""
        body = await read_json(request, wire.CreateEstimate, self._patience)
        output = body.output_expires_after
        spec = EstimateSpec(
            input_file_id=body.input_file_id,
            endpoint=body.endpoint,
            completion_window=body.completion_window,
            metadata=body.metadata,
            output_expires_after=output.seconds if output else None,
            budget=body.batchmill.budget if body.batchmill else None,
        )
        found = await self._estimates.estimate(caller_of(request), spec)
        return wire.answer(wire.estimate_object(found, body.input_file_id))


_ESTIMATE: dict[str, Any] = operation(
    "estimateBatch",
    "Estimate a batch",
    "Reads the file as its batch would, and says what is wrong with it, what it would cost, how "
    "long it would take now, and whether that fits the window and the budget. Nothing is stored.",
    access=Access.READ,
    rate=RateRule.BATCH_CREATE,
    success=[Success("The estimate.", wire.EstimateObject, {"estimate": samples.ESTIMATE})],
    errors=[
        faults.BAD_JSON,
        faults.BAD_TYPE,
        faults.BAD_ENDPOINT,
        faults.BAD_WINDOW,
        faults.INPUT_UNKNOWN,
        faults.STALLED,
    ],
    body=json_body(wire.CreateEstimate, samples.NEW_ESTIMATE),
)
