"""Webhooks: events, endpoints, deliveries; signatures, pauses, the circuit breaker. Pure."""

from dataclasses import dataclass


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
