"""Webhooks: who is told of what, and what became of telling them.

Signing secrets leave here in the answers to create and rotate alone. A test is
sent at once and from here; everything else goes through the outbox.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from secrets import token_bytes, token_hex
from typing import Any

from batchmill.domain.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded
from batchmill.domain.post import headers_of
from batchmill.domain.receiver import find_url_fault
from batchmill.domain.webhook import (
    EVENT_TYPES,
    SECRET_ENTROPY,
    SPENDING_REACHED,
    Delivery,
    WebhookEndpoint,
    event_payload,
    make_webhook_secret,
)
from batchmill.ports import (
    Clock,
    CursorUnknown,
    Page,
    PostFault,
    Postman,
    TooManyEndpoints,
    WebhookStore,
)
from batchmill.service.caller import Caller
from batchmill.service.deeds import deed_of
from batchmill.service.refusals import invalid_value, is_plausible_id, require_text, shorten

MAX_ENDPOINTS = 20
MAX_NAME_CHARS = 100
OLD_SECRET_SECONDS = 86_400.0

_TEST_BATCH = {"id": "batch_00000000-0000-4000-8000-000000000000"}
_TEST_SPENDING = {
    "scope": "account",
    "id": "default",
    "currency": "USD",
    "limit": "100",
    "spent": "80",
    "alert_percent": 80,
    "month": "2026-01",
}


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """What a caller says of an endpoint; None leaves it as it is."""

    name: str | None = None
    url: str | None = None
    event_types: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """What a receiver answered to a test."""

    __test__ = False

    endpoint_id: str
    event_type: str
    status: int


class Webhooks:
    """The use-cases of webhooks."""

    def __init__(
        self, *, store: WebhookStore, postman: Postman, clock: Clock, allow_private: bool
    ) -> None:
        self._store = store
        self._postman = postman
        self._clock = clock
        self._allow_private = allow_private

    async def create(
        self, caller: Caller, *, name: str, url: str, event_types: Sequence[str]
    ) -> WebhookEndpoint:
        """Make an endpoint; raises InvalidRequest, and QuotaExceeded where there are too many."""
        spec = EndpointSpec(name, url, _unique(event_types))
        self._check(spec)
        now = self._clock.now()
        endpoint = WebhookEndpoint(
            id=f"whe_{token_hex(12)}",
            account=caller.account,
            name=name,
            url=url,
            event_types=_unique(event_types),
            secret=_new_secret(),
            created_at=now,
            updated_at=now,
        )
        deed = deed_of(caller, "webhook.created", endpoint.id, now, detail=name)
        try:
            await self._store.add(endpoint, deed, most=MAX_ENDPOINTS)
        except TooManyEndpoints:
            message = (
                f"Too many webhook endpoints: there may be at most {MAX_ENDPOINTS}. "
                "Delete one that is no longer needed."
            )
            raise QuotaExceeded(message, code="too_many_webhook_endpoints") from None
        return endpoint

    async def retrieve(self, caller: Caller, endpoint_id: str) -> WebhookEndpoint:
        """The endpoint; raises NotFound."""
        known = is_plausible_id(endpoint_id)
        endpoint = await self._store.get(caller.account, endpoint_id) if known else None
        if endpoint is None:
            raise unknown_endpoint(endpoint_id)
        return endpoint

    async def list(
        self, caller: Caller, *, limit: int, after: str | None = None
    ) -> Page[WebhookEndpoint]:
        """A page of endpoints, newest first; raises NotFound for an unknown ``after``."""
        try:
            return await self._store.list(caller.account, limit=limit, after=after)
        except CursorUnknown:
            raise unknown_endpoint(after or "", param="after") from None

    async def update(self, caller: Caller, endpoint_id: str, spec: EndpointSpec) -> WebhookEndpoint:
        """Change what ``spec`` says; raises InvalidRequest and NotFound."""
        types = None if spec.event_types is None else _unique(spec.event_types)
        asked = {"name": spec.name, "url": spec.url, "event_types": types}
        changes: dict[str, Any] = {key: said for key, said in asked.items() if said is not None}
        self._check(spec)

        def change(before: WebhookEndpoint, _now: float) -> WebhookEndpoint:
            return replace(before, **changes)

        return await self._change(caller, endpoint_id, "webhook.changed", change)

    async def rotate_secret(
        self, caller: Caller, endpoint_id: str, *, keep_old: bool
    ) -> WebhookEndpoint:
        """Give it a new secret; the old one goes on signing for a day where it is kept."""
        secret = _new_secret()

        def change(before: WebhookEndpoint, now: float) -> WebhookEndpoint:
            return replace(
                before,
                secret=secret,
                old_secret=before.secret if keep_old else None,
                old_secret_until=now + OLD_SECRET_SECONDS if keep_old else None,
            )

        return await self._change(caller, endpoint_id, "webhook.secret_rotated", change)

    async def delete(self, caller: Caller, endpoint_id: str) -> None:
        """Delete it; what is due to it is given up. Raises NotFound."""
        deed = deed_of(caller, "webhook.deleted", endpoint_id, self._clock.now())
        known = is_plausible_id(endpoint_id)
        if not known or not await self._store.delete(caller.account, endpoint_id, deed):
            raise unknown_endpoint(endpoint_id)

    async def test(self, caller: Caller, endpoint_id: str, event_type: str) -> TestOutcome:
        """Send a sample at once; raises NotFound, and InvalidRequest where no answer comes."""
        _check_types((event_type,), "event_type")
        endpoint = await self.retrieve(caller, endpoint_id)
        sample = _sample(endpoint, event_type, self._clock.now())
        headers = headers_of(sample, endpoint, self._clock.now())
        try:
            status = await self._postman.post(endpoint.url, sample.payload.encode(), headers)
        except PostFault as fault:
            message = f"The receiver of webhook endpoint '{endpoint_id}' gave no answer: {fault}."
            raise InvalidRequest(message, code="webhook_receiver_unreachable") from None
        return TestOutcome(endpoint_id, event_type, status)

    async def deliveries(
        self, caller: Caller, *, endpoint_id: str | None, limit: int, after: str | None = None
    ) -> Page[Delivery]:
        """A page of deliveries, newest first; raises NotFound for an unknown ``after``."""
        try:
            return await self._store.deliveries(
                caller.account, endpoint_id=endpoint_id, limit=limit, after=after
            )
        except CursorUnknown:
            raise unknown_delivery(after or "", param="after") from None

    async def replay(self, caller: Caller, delivery_id: str) -> Delivery:
        """Send the same event again, as a delivery of its own; raises NotFound and Conflict."""
        known = is_plausible_id(delivery_id)
        before = await self._store.delivery(caller.account, delivery_id) if known else None
        if before is None:
            raise unknown_delivery(delivery_id)
        if before.endpoint_id is not None:
            await self._require_endpoint(caller, before.endpoint_id)
        now = self._clock.now()
        again = _again(before, now)
        await self._store.enqueue(again)
        return again

    async def _require_endpoint(self, caller: Caller, endpoint_id: str) -> None:
        if await self._store.get(caller.account, endpoint_id) is None:
            message = f"Webhook endpoint '{endpoint_id}' was deleted: nothing can be sent to it."
            raise Conflict(message, code="webhook_endpoint_deleted")

    async def _change(
        self,
        caller: Caller,
        endpoint_id: str,
        action: str,
        change: Callable[[WebhookEndpoint, float], WebhookEndpoint],
    ) -> WebhookEndpoint:
        while True:
            before = await self.retrieve(caller, endpoint_id)
            now = self._clock.now()
            after = change(before, now)
            if after == before:
                return before
            after = replace(after, updated_at=now)
            deed = deed_of(caller, action, endpoint_id, now, detail=after.name)
            if await self._store.update(before, after, deed):
                return after

    def _check(self, spec: EndpointSpec) -> None:
        if spec.name is not None:
            require_text(spec.name, low=1, high=MAX_NAME_CHARS, param="name")
        if spec.url is not None:
            fault = find_url_fault(spec.url, allow_private=self._allow_private)
            if fault is not None:
                raise InvalidRequest(f"Invalid 'url': {fault}.", param="url", code="invalid_value")
        if spec.event_types is not None:
            _check_types(spec.event_types, "event_types")


def unknown_endpoint(endpoint_id: str, param: str | None = None) -> NotFound:
    """There is no such endpoint for this caller."""
    return NotFound(f"No webhook endpoint found with id '{shorten(endpoint_id)}'.", param=param)


def unknown_delivery(delivery_id: str, param: str | None = None) -> NotFound:
    """There is no such delivery for this caller."""
    return NotFound(f"No webhook delivery found with id '{shorten(delivery_id)}'.", param=param)


def _check_types(event_types: Sequence[str], param: str) -> None:
    if not event_types:
        message = f"Invalid '{param}': name at least one event type."
        raise InvalidRequest(message, param=param, code="invalid_value")
    for one in event_types:
        if one not in EVENT_TYPES:
            raise invalid_value(one, EVENT_TYPES, param)


def _unique(event_types: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(event_types))


def _new_secret() -> str:
    return make_webhook_secret(token_bytes(SECRET_ENTROPY))


def _again(before: Delivery, now: float) -> Delivery:
    return Delivery(
        id=f"whd_{token_hex(16)}",
        account=before.account,
        event_id=before.event_id,
        event_type=before.event_type,
        subject=before.subject,
        url=before.url,
        payload=before.payload,
        created_at=now,
        next_at=now,
        endpoint_id=before.endpoint_id,
    )


def _sample(endpoint: WebhookEndpoint, event_type: str, now: float) -> Delivery:
    event_id = f"evt_{token_hex(16)}"
    data = _TEST_SPENDING if event_type == SPENDING_REACHED else _TEST_BATCH
    return Delivery(
        id=event_id,
        account=endpoint.account,
        event_id=event_id,
        event_type=event_type,
        subject=str(data["id"]),
        url=endpoint.url,
        payload=event_payload(event_id, event_type, data, now),
        created_at=now,
        next_at=None,
        endpoint_id=endpoint.id,
    )
