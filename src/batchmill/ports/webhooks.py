"""Webhooks: the store of endpoints and of the outbox, and the way out.

A delivery is one event for one receiver. It is written with what it tells of,
and stays due until it was acknowledged or given up.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from batchmill.domain.account import Deed
from batchmill.domain.webhook import Delivery, WebhookEndpoint
from batchmill.ports.store import Page


class WebhookStore(Protocol):
    """Rows of endpoints, and the outbox."""

    async def add(self, endpoint: WebhookEndpoint, deed: Deed) -> None: ...

    async def get(self, account: str, endpoint_id: str) -> WebhookEndpoint | None: ...

    async def list(
        self, account: str, *, limit: int, after: str | None = None
    ) -> Page[WebhookEndpoint]:
        """Endpoints, newest first; raises CursorUnknown."""
        ...

    async def update(self, endpoint: WebhookEndpoint, deed: Deed) -> bool:
        """Store all that a caller may change; whether it is still there."""
        ...

    async def delete(self, account: str, endpoint_id: str, deed: Deed) -> bool:
        """Delete it, and give up what is due to it; whether it was there."""
        ...

    async def enqueue(self, delivery: Delivery) -> None:
        """Add one delivery to the outbox: a test, or a replay."""
        ...

    async def due(self, now: float, limit: int) -> Sequence[Delivery]:
        """Deliveries to be tried now, longest due first; none of an endpoint that is open."""
        ...

    async def settle(self, delivery: Delivery, endpoint: WebhookEndpoint | None) -> None:
        """Store what became of a try, and the state of its endpoint's circuit breaker."""
        ...

    async def deliveries(
        self, account: str, *, endpoint_id: str | None, limit: int, after: str | None = None
    ) -> Page[Delivery]:
        """The account's deliveries, newest first; raises CursorUnknown."""
        ...

    async def delivery(self, account: str, delivery_id: str) -> Delivery | None: ...


class PostFaultKind(StrEnum):
    """Why there is no answer."""

    FORBIDDEN = "forbidden_address"  # the name leads to an address that must not be asked
    UNRESOLVED = "unresolved_name"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    BROKEN = "broken"  # the connection ended, or what came is not HTTP


class PostFault(Exception):
    """No answer came; ``kind`` is for the delivery's record and holds no content."""

    def __init__(self, kind: PostFaultKind) -> None:
        super().__init__(str(kind))
        self.kind = kind


class Postman(Protocol):
    """Sends one POST to one receiver of the world outside."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer, whose body is not read; raises PostFault.

        Redirects are not followed. The name is resolved once, checked, and
        that very address is connected to.
        """
        ...

    async def close(self) -> None: ...
