"""Webhooks: events, the endpoints that want them, and what became of each delivery. Pure.

An event's id follows from what it tells, so that the same fact told twice is
the same event. How a delivery is signed and repeated stands in ``post``.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

from batchmill.domain.batch import Batch
from batchmill.domain.caps import Cap, month_of
from batchmill.domain.money import text_of
from batchmill.domain.receiver import find_url_fault

CALLBACK_KEY = "ds_batch_finish_callback"
CALLBACK_TYPE = "dashscope:System:BatchTaskFinish"
SPENDING_REACHED = "spending.threshold_reached"
EVENT_TYPES = (
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
    SPENDING_REACHED,
)
SECRET_ENTROPY = 32

_SECRET_MARK = "whsec_"  # noqa: S105 - the mark of secrets, not one
_HINT_CHARS = 4


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """Something that happened: ``subject`` is the id of what it happened to.

    ``payload`` is the JSON that receivers get. ``callback`` is a URL that is
    told besides the account's endpoints, with ``callback_payload``.
    """

    id: str
    account: str
    type: str
    subject: str
    payload: str
    at: float
    callback: str | None = None
    callback_payload: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """A receiver. ``secret`` is base64 after ``whsec_``; the old one also signs until its end.

    ``failures`` in a row and ``open_until`` are its circuit breaker.
    """

    id: str
    account: str
    name: str
    url: str
    event_types: tuple[str, ...]
    secret: str
    created_at: float
    updated_at: float
    old_secret: str | None = None
    old_secret_until: float | None = None
    failures: int = 0
    open_until: float | None = None

    def __repr__(self) -> str:
        return f"WebhookEndpoint({self.id!r})"

    def secrets(self, now: float) -> tuple[str, ...]:
        """The secrets that sign now, the newest first."""
        if self.old_secret is None or self.old_secret_until is None or now >= self.old_secret_until:
            return (self.secret,)
        return (self.secret, self.old_secret)

    @property
    def secret_hint(self) -> str:
        """The secret's end, by which its owner tells it from another."""
        return f"{_SECRET_MARK}…{self.secret[-_HINT_CHARS:]}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one receiver. ``endpoint_id`` None is the callback of a batch.

    ``next_at`` is when it is tried next; None once it is delivered or given up.
    """

    id: str
    account: str
    event_id: str
    event_type: str
    subject: str
    url: str
    payload: str
    created_at: float
    next_at: float | None
    endpoint_id: str | None = None
    attempts: int = 0
    delivered_at: float | None = None
    given_up_at: float | None = None
    last_status: int | None = None
    last_error: str | None = None

    @property
    def status(self) -> Literal["pending", "delivered", "given_up"]:
        """Whether it arrived, will not, or is still tried."""
        if self.delivered_at is not None:
            return "delivered"
        return "given_up" if self.next_at is None else "pending"


def make_webhook_secret(entropy: bytes) -> str:
    """A signing secret of ``SECRET_ENTROPY`` random bytes, as receivers are given it."""
    return _SECRET_MARK + b64encode(entropy[:SECRET_ENTROPY]).decode()


def batch_event(batch: Batch, at: float) -> WebhookEvent | None:
    """What is told when ``batch`` has ended at ``at``; None for one that has not.

    The callback of its metadata is told too, unless that is no URL.
    """
    if not batch.status.is_terminal:
        return None
    event_id = _event_id(batch.id, batch.status)
    event_type = f"batch.{batch.status}"
    callback = (batch.metadata or {}).get(CALLBACK_KEY)
    if callback is not None and find_url_fault(callback, allow_private=True) is not None:
        callback = None
    return WebhookEvent(
        id=event_id,
        account=batch.account,
        type=event_type,
        subject=batch.id,
        payload=event_payload(event_id, event_type, {"id": batch.id}, at),
        at=at,
        callback=callback,
        callback_payload=None if callback is None else _callback_payload(batch, event_id, at),
    )


def spending_event(cap: Cap, spent: int, at: float) -> WebhookEvent:
    """What is told when ``spent`` units have passed the threshold of ``cap``, once a month."""
    month = month_of(at)
    told = (cap.scope, cap.scope_id, cap.currency, month, str(cap.limit), str(cap.alert_percent))
    event_id = _event_id(cap.account, *told)
    data = {
        "scope": cap.scope.value,
        "id": cap.scope_id,
        "currency": cap.currency,
        "limit": text_of(cap.limit),
        "spent": text_of(spent),
        "alert_percent": cap.alert_percent,
        "month": month,
    }
    return WebhookEvent(
        id=event_id,
        account=cap.account,
        type=SPENDING_REACHED,
        subject=cap.scope_id,
        payload=event_payload(event_id, SPENDING_REACHED, data, at),
        at=at,
    )


def event_payload(event_id: str, event_type: str, data: Mapping[str, Any], at: float) -> str:
    """The JSON of an event, as the official clients unwrap it."""
    event = {"id": event_id, "object": "event", "created_at": int(at), "type": event_type}
    return _as_json({**event, "data": data})


def delivery_id(event_id: str, receiver: str) -> str:
    """The id of an event's delivery to a receiver: the same whenever it is announced."""
    return f"whd_{_digest(event_id, receiver)}"


def deliveries_of(event: WebhookEvent, endpoints: tuple[WebhookEndpoint, ...]) -> list[Delivery]:
    """A delivery for each of the account's endpoints that wants the event, and its callback's."""
    wanting = (one for one in endpoints if event.type in one.event_types)
    told = [_delivery(event, one.url, event.payload, one.id) for one in wanting]
    if event.callback is not None and event.callback_payload is not None:
        told.append(_delivery(event, event.callback, event.callback_payload, None))
    return told


def _delivery(event: WebhookEvent, url: str, payload: str, endpoint_id: str | None) -> Delivery:
    return Delivery(
        id=delivery_id(event.id, endpoint_id or "callback"),
        account=event.account,
        event_id=event.id,
        event_type=event.type,
        subject=event.subject,
        url=url,
        payload=payload,
        created_at=event.at,
        next_at=event.at,
        endpoint_id=endpoint_id,
    )


def _callback_payload(batch: Batch, event_id: str, at: float) -> str:
    counts = batch.counts
    data = {
        "task_id": batch.id,
        "task_status": batch.status.value,
        "start_time": int(batch.in_progress_at or batch.created_at),
        "end_time": int(at),
        "input_file_id": batch.input_file_id,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "request_counts": {
            "total": counts.total,
            "completed": counts.completed,
            "failed": counts.failed,
        },
    }
    envelope = {"specversion": "1.0", "id": event_id, "source": "batchmill", "type": CALLBACK_TYPE}
    return _as_json({**envelope, "datacontenttype": "application/json", "data": data})


def _event_id(*told: str) -> str:
    return f"evt_{_digest(*told)}"


def _digest(*told: str) -> str:
    return blake2b("\n".join(told).encode(), digest_size=16).hexdigest()


def _as_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
