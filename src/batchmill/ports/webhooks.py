"""Webhooks: the store of endpoints and of the outbox, and the way out.

A delivery is one event for one receiver. It is written with what it tells of,
and stays due until it was acknowledged or given up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from batchmill.domain.account import Deed
from batchmill.domain.post import Tried
from batchmill.domain.webhook import Delivery, WebhookEndpoint
from batchmill.ports.store import Page


class TooManyEndpoints(Exception):
    """The account has as many endpoints as it may."""


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery to be tried now, and its endpoint as it stands; None for a callback."""

    delivery: Delivery
    endpoint: WebhookEndpoint | None

    @property
    def url(self) -> str:
        """Where it goes: to where the endpoint is now."""
        return self.delivery.url if self.endpoint is None else self.endpoint.url


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many deliveries are due or wait for another try; ``oldest_due`` is a time."""

    waiting: int
    due: int
    oldest_due: float | None


class WebhookStore(Protocol):
    """Rows of endpoints, and the outbox."""

    async def add(self, endpoint: WebhookEndpoint, deed: Deed, *, most: int) -> None:
        """Store an endpoint; raises TooManyEndpoints where the account has ``most``."""
        ...

    async def get(self, account: str, endpoint_id: str) -> WebhookEndpoint | None: ...

    async def list(
        self, account: str, *, limit: int, after: str | None = None
    ) -> Page[WebhookEndpoint]:
        """Endpoints, newest first; raises CursorUnknown."""
        ...

    async def update(self, before: WebhookEndpoint, after: WebhookEndpoint, deed: Deed) -> bool:
        """Store what a caller changed, if nobody else did meanwhile; whether it was stored.

        Another URL closes the circuit breaker.
        """
        ...

    async def delete(self, account: str, endpoint_id: str, deed: Deed) -> bool:
        """Delete it, and give up what is due to it; whether it was there."""
        ...

    async def enqueue(self, delivery: Delivery) -> None:
        """Add one delivery to the outbox: a replay."""
        ...

    async def due(self, now: float, limit: int) -> Sequence[Due]:
        """Deliveries to be tried now, of each account in turn, longest due first.

        Of one receiver there are two at most, one where it is being probed,
        and none where its circuit breaker is open. Those that are under way
        are among them: who asks knows which those are.
        """
        ...

    async def settle(self, delivery: Delivery, tried: Tried) -> None:
        """Store what became of a try, and what it means for the endpoint's circuit breaker.

        A delivery that was settled or given up meanwhile stays as it is.
        """
        ...

    async def give_up(self, created_before: float, now: float) -> int:
        """Give up what is older; how many. What was never tried is, if its receiver fails."""
        ...

    async def sweep(self, created_before: float, limit: int) -> int:
        """Delete deliveries that are older and at their end; how many."""
        ...

    async def backlog(self, now: float) -> Backlog: ...

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
