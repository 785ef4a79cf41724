"""Webhooks over HTTP: endpoints as the official clients manage them, and our deliveries."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from batchmill.api import faults, samples, wire
from batchmill.api.bodies import read_json
from batchmill.api.docs import Success, json_body, operation
from batchmill.api.doorkeeper import caller_of
from batchmill.api.routes import add_get, given
from batchmill.door.access import Access
from batchmill.door.bodies import Patience
from batchmill.service.webhooks import EndpointSpec, Webhooks

_MAX_PAGE: Final = 100
_PAGE: Final = 20

After = Annotated[str | None, Query(description="The last id of the page before.")]
Limit = Annotated[int, Query(ge=1, le=_MAX_PAGE)]


class WebhookRoutes:
    """The operations of webhooks."""

    def __init__(self, webhooks: Webhooks, *, patience: Patience) -> None:
        self._webhooks = webhooks
        self._patience = patience

    def router(self, base: str) -> APIRouter:
        """The routes below ``base``."""
        router = APIRouter(prefix=base, tags=["Webhooks"])
        every, one = "/webhook_endpoints", "/webhook_endpoints/{webhook_endpoint_id}"
        add = router.add_api_route
        add(every, self.create, methods=["POST"], **_CREATE)
        add_get(router, every, self.list, **_LIST)
        add_get(router, one, self.retrieve, **_RETRIEVE)
        add(one, self.update, methods=["POST"], **_UPDATE)
        add(one, self.delete, methods=["DELETE"], **_DELETE)
        add(f"{one}/rotate_secret", self.rotate_secret, methods=["POST"], **_ROTATE)
        add(f"{one}/test", self.test, methods=["POST"], **_TEST)
        add_get(router, "/webhook_event_types", self.list_event_types, **_LIST_TYPES)
        sent = "/webhook_deliveries"
        add_get(router, sent, self.list_deliveries, **_LIST_DELIVERIES)
        add(f"{sent}/{{delivery_id}}/replay", self.replay, methods=["POST"], **_REPLAY)
        return router

    async def create(self, request: Request) -> Response:
        """Make an endpoint."""
        body = await read_json(request, wire.CreateWebhookEndpoint, self._patience)
        made = await self._webhooks.create(
            caller_of(request), name=body.name, url=body.url, event_types=body.event_types
        )
        return wire.answer(wire.webhook_endpoint_with_secret(made))

    async def list(self, request: Request, after: After = None, limit: Limit = _PAGE) -> Response:
        """A page of endpoints."""
        caller = caller_of(request)
        page = await self._webhooks.list(caller, limit=limit, after=given(after, "after"))
        return wire.answer(wire.webhook_endpoint_list(page))

    async def retrieve(self, request: Request, webhook_endpoint_id: str) -> Response:
        """One endpoint."""
        found = await self._webhooks.retrieve(caller_of(request), webhook_endpoint_id)
        return wire.answer(wire.webhook_endpoint_object(found))

    async def update(self, request: Request, webhook_endpoint_id: str) -> Response:
        """Change an endpoint."""
        body = await read_json(request, wire.UpdateWebhookEndpoint, self._patience)
        types = None if body.event_types is None else tuple(body.event_types)
        spec = EndpointSpec(name=body.name, url=body.url, event_types=types)
        changed = await self._webhooks.update(caller_of(request), webhook_endpoint_id, spec)
        return wire.answer(wire.webhook_endpoint_object(changed))

    async def delete(self, request: Request, webhook_endpoint_id: str) -> Response:
        """Delete an endpoint."""
        await self._webhooks.delete(caller_of(request), webhook_endpoint_id)
        return wire.answer(wire.WebhookEndpointDeleted(id=webhook_endpoint_id))

    async def rotate_secret(self, request: Request, webhook_endpoint_id: str) -> Response:
        """Give an endpoint a new secret."""
        body = wire.RotateWebhookSecret()
        if _has_body(request):
            body = await read_json(request, wire.RotateWebhookSecret, self._patience)
        rotated = await self._webhooks.rotate_secret(
            caller_of(request),
            webhook_endpoint_id,
            keep_old=body.keep_old_secret_active_for_24_hours,
        )
        return wire.answer(wire.webhook_endpoint_with_secret(rotated))

    async def test(self, request: Request, webhook_endpoint_id: str) -> Response:
        """Send a sample to an endpoint."""
        body = await read_json(request, wire.TestWebhookEndpoint, self._patience)
        caller = caller_of(request)
        outcome = await self._webhooks.test(caller, webhook_endpoint_id, body.event_type)
        return wire.answer(wire.webhook_test_result(outcome))

    async def list_event_types(self) -> Response:
        """Every event type."""
        return wire.answer(wire.webhook_event_type_list())

    async def list_deliveries(
        self,
        request: Request,
        after: After = None,
        limit: Limit = _PAGE,
        webhook_endpoint_id: Annotated[
            str | None, Query(description="Only those to this endpoint.")
        ] = None,
    ) -> Response:
        """A page of deliveries."""
        page = await self._webhooks.deliveries(
            caller_of(request),
            endpoint_id=given(webhook_endpoint_id, "webhook_endpoint_id"),
            limit=limit,
            after=given(after, "after"),
        )
        return wire.answer(wire.webhook_delivery_list(page))

    async def replay(self, request: Request, delivery_id: str) -> Response:
        """Send an event again."""
        again = await self._webhooks.replay(caller_of(request), delivery_id)
        return wire.answer(wire.webhook_delivery_object(again))


def _has_body(request: Request) -> bool:
    headers = request.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


_ENDPOINT: Final = [
    Success("The endpoint.", wire.WebhookEndpointObject, {"endpoint": samples.WEBHOOK_ENDPOINT})
]
_WITH_SECRET: Final = [
    Success(
        "The endpoint, with the secret that is not shown again.",
        wire.WebhookEndpointWithSecret,
        {"endpoint": samples.WEBHOOK_ENDPOINT_WITH_SECRET},
    )
]
_BAD_BODY: Final = [faults.BAD_JSON, faults.STALLED, faults.DISK_FULL]
_CREATE: dict[str, Any] = operation(
    "createWebhookEndpoint",
    "Create a webhook endpoint",
    "A receiver that is told when batches end. Deliveries are signed as Standard Webhooks have it; "
    "official clients verify them with `webhooks.unwrap`.",
    access=Access.ADMIN,
    success=_WITH_SECRET,
    errors=[faults.BAD_WEBHOOK_URL, faults.BAD_EVENT_TYPE, faults.TOO_MANY_WEBHOOKS, *_BAD_BODY],
    body=json_body(wire.CreateWebhookEndpoint, samples.NEW_WEBHOOK_ENDPOINT),
)
_LIST: dict[str, Any] = operation(
    "listWebhookEndpoints",
    "List webhook endpoints",
    "A page of the account's endpoints, newest first.",
    access=Access.READ,
    success=[
        Success("A page.", wire.WebhookEndpointList, {"endpoints": samples.WEBHOOK_ENDPOINTS})
    ],
    errors=[faults.BAD_LIMIT, faults.WEBHOOK_UNKNOWN],
)
_RETRIEVE: dict[str, Any] = operation(
    "retrieveWebhookEndpoint",
    "Retrieve a webhook endpoint",
    "What an endpoint is told, and where it is.",
    access=Access.READ,
    success=_ENDPOINT,
    errors=[faults.WEBHOOK_UNKNOWN],
)
_UPDATE: dict[str, Any] = operation(
    "updateWebhookEndpoint",
    "Change a webhook endpoint",
    "What is absent stays. Deliveries that wait go to the new URL.",
    access=Access.ADMIN,
    success=_ENDPOINT,
    errors=[faults.BAD_WEBHOOK_URL, faults.BAD_EVENT_TYPE, faults.WEBHOOK_UNKNOWN, *_BAD_BODY],
    body=json_body(wire.UpdateWebhookEndpoint, {"name": "Nightly, new"}),
)
_DELETE: dict[str, Any] = operation(
    "deleteWebhookEndpoint",
    "Delete a webhook endpoint",
    "What waits to be delivered to it is given up.",
    access=Access.ADMIN,
    success=[
        Success("It is gone.", wire.WebhookEndpointDeleted, {"deleted": samples.WEBHOOK_DELETED})
    ],
    errors=[faults.WEBHOOK_UNKNOWN, faults.DISK_FULL],
)
_ROTATE: dict[str, Any] = operation(
    "rotateWebhookEndpointSecret",
    "Rotate a signing secret",
    "From now on the new secret signs; for 24 hours the old one does too, if that is asked for.",
    access=Access.ADMIN,
    success=_WITH_SECRET,
    errors=[faults.WEBHOOK_UNKNOWN, *_BAD_BODY],
    body=json_body(
        wire.RotateWebhookSecret, {"keep_old_secret_active_for_24_hours": True}, required=False
    ),
)
_TEST: dict[str, Any] = operation(
    "testWebhookEndpoint",
    "Test a webhook endpoint",
    "Sends a sample of an event at once, and says what the receiver answered.",
    access=Access.ADMIN,
    success=[
        Success("An answer came.", wire.WebhookTestResult, {"tested": samples.WEBHOOK_TESTED})
    ],
    errors=[
        faults.BAD_EVENT_TYPE,
        faults.WEBHOOK_UNREACHABLE,
        faults.WEBHOOK_UNKNOWN,
        faults.BAD_JSON,
        faults.STALLED,
    ],
    body=json_body(wire.TestWebhookEndpoint, {"event_type": "batch.completed"}),
)
_LIST_TYPES: dict[str, Any] = operation(
    "listWebhookEventTypes",
    "List webhook event types",
    "Everything that an endpoint can be told.",
    access=Access.READ,
    success=[
        Success("The types.", wire.WebhookEventTypeList, {"types": samples.WEBHOOK_EVENT_TYPES})
    ],
)
_LIST_DELIVERIES: dict[str, Any] = operation(
    "listWebhookDeliveries",
    "List webhook deliveries",
    "What was sent or waits to be, newest first; what has ended is kept for 30 days. The callback "
    "of a batch is a delivery without an endpoint.",
    access=Access.READ,
    success=[
        Success("A page.", wire.WebhookDeliveryList, {"deliveries": samples.WEBHOOK_DELIVERIES})
    ],
    errors=[faults.BAD_LIMIT, faults.DELIVERY_CURSOR_UNKNOWN],
)
_REPLAY: dict[str, Any] = operation(
    "replayWebhookDelivery",
    "Replay a webhook delivery",
    "Sends the same event to the same receiver again, as a new delivery. Its `webhook-id` is that "
    "of the first, so that a receiver can tell.",
    access=Access.ADMIN,
    success=[
        Success(
            "The new delivery.", wire.WebhookDeliveryObject, {"delivery": samples.WEBHOOK_DELIVERY}
        )
    ],
    errors=[faults.DELIVERY_UNKNOWN, faults.WEBHOOK_DELETED, faults.DISK_FULL],
)
