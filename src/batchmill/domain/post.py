"""How a delivery is signed, when it is repeated, and when its endpoint is left alone. Pure.

Signatures are those of Standard Webhooks. Pauses are seconds; ``jitter`` is a
number from 0 to 1 that is handed in.
"""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace

from batchmill.domain.webhook import Delivery, WebhookEndpoint

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 3600.0
FAILURES_TO_OPEN = 8
FIRST_OPENING = 60.0
LONGEST_OPENING = 3600.0

_MAX_DOUBLINGS = 20


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one try: the answer's status, or why there is none."""

    at: float
    status: int | None = None
    fault: str | None = None

    @property
    def is_acknowledged(self) -> bool:
        """Whether the receiver has taken the delivery."""
        return self.status is not None and 200 <= self.status < 300


def headers_of(delivery: Delivery, endpoint: WebhookEndpoint | None, now: float) -> dict[str, str]:
    """The headers of a try at ``now``; a callback has nobody's secret, so it is not signed."""
    headers = {
        "content-type": "application/json",
        "webhook-id": delivery.event_id,
        "webhook-timestamp": str(int(now)),
    }
    if endpoint is not None:
        secrets = endpoint.secrets(now)
        signed = (sign(secret, headers, delivery.payload.encode()) for secret in secrets)
        headers["webhook-signature"] = " ".join(signed)
    return headers


def sign(secret: str, headers: Mapping[str, str], body: bytes) -> str:
    """The signature of one message with one secret: ``v1,`` and base64."""
    key = b64decode(secret.partition("_")[2])
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return f"v1,{b64encode(hmac.digest(key, signed, 'sha256')).decode()}"


def after_try(delivery: Delivery, tried: Tried, *, give_up_after: float, jitter: float) -> Delivery:
    """The delivery after a try: delivered, due again, or given up."""
    attempts = delivery.attempts + 1
    seen = replace(
        delivery, attempts=attempts, last_status=tried.status, last_error=tried.fault, next_at=None
    )
    if tried.is_acknowledged:
        return replace(seen, delivered_at=tried.at)
    next_at = tried.at + pause_after(attempts, jitter)
    if next_at > delivery.created_at + give_up_after:
        return replace(seen, given_up_at=tried.at)
    return replace(seen, next_at=next_at)


def pause_after(attempts: int, jitter: float) -> float:
    """How long to wait after so many failed attempts: about 5 s, doubled each time, to an hour."""
    bound = FIRST_PAUSE * 2.0 ** min(attempts - 1, _MAX_DOUBLINGS)
    return min(LONGEST_PAUSE, bound * (0.75 + 0.5 * jitter))


def breaker_after(endpoint: WebhookEndpoint, tried: Tried) -> WebhookEndpoint:
    """The endpoint's circuit breaker after a try.

    It opens at the eighth failure in a row, for a minute, and for twice as
    long each time that the probe after it fails. A success closes it.
    """
    if tried.is_acknowledged:
        return replace(endpoint, failures=0, open_until=None)
    failures = endpoint.failures + 1
    if failures < FAILURES_TO_OPEN:
        return replace(endpoint, failures=failures)
    if endpoint.open_until is not None and tried.at < endpoint.open_until:
        return endpoint  # sent before it opened: it is no probe
    doublings = min(failures - FAILURES_TO_OPEN, _MAX_DOUBLINGS)
    opening = min(LONGEST_OPENING, FIRST_OPENING * 2.0**doublings)
    return replace(endpoint, failures=failures, open_until=tried.at + opening)
