"""The transport: requests to an upstream."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec


@dataclass(frozen=True, slots=True)
class Identity:
    """Files in PEM form that tell a server who is asking; one file may hold both."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Proxy:
    """A forward proxy, such as ``http://proxy.internal:3128``.

    ``login`` is its ``user:password``, and never shows in a repr.
    """

    url: str
    login: str | None = None

    def __repr__(self) -> str:
        return f"Proxy({self.url!r})"


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how to reach a model server.

    ``url`` is its base, such as ``http://10.0.0.5:8000/v1``; ``api_key`` never
    shows in a repr. ``ca`` is a file with authorities that are trusted besides
    the machine's own. Times are seconds; without a ``first_byte_timeout`` an answer may
    begin as late as it may end. A ``proxy`` goes ``with_aiohttp`` alone.
    """

    url: str
    api_key: str | None = None
    connect_timeout: float = 10.0
    request_timeout: float = 600.0
    first_byte_timeout: float | None = None
    max_answer_bytes: int = 64 * 1024 * 1024
    ca: Path | None = None
    identity: Identity | None = None
    with_aiohttp: bool = False
    proxy: Proxy | None = None

    def __repr__(self) -> str:
        return f"Target({self.url!r})"


class Reply(msgspec.Struct, frozen=True, gc=False):  # a Struct for the same reason as Usage
    """An upstream's whole answer. ``retry_after`` is its header, in seconds."""

    status: int
    body: bytes
    retry_after: float | None = None


class FaultKind(StrEnum):
    """Why there is no answer."""

    UNREACHABLE = "unreachable"  # no connection came about; nothing was sent
    RESET = "reset"  # the connection ended before the whole answer
    TIMEOUT = "timeout"  # the answer did not come in time
    TOO_LARGE = "too_large"  # the answer is larger than the cap
    GARBLED = "garbled"  # what came is not HTTP


class TransportFault(Exception):
    """No whole answer came; ``detail`` is for logs and holds no content."""

    def __init__(self, kind: FaultKind, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else str(kind))
        self.kind = kind
        self.detail = detail


# How a request ended. An Exception that is no TransportFault is a fault of the transport itself.
Outcome = Reply | Exception


class Exchange(Protocol):
    """A request on its way."""

    def cancel(self) -> None:
        """Abort it: nobody is told of its end any more. Does nothing after the end."""
        ...


class Transport(Protocol):
    """Sends requests to one upstream.

    It calls back, since a task and a future for each line would cost a good part of what
    the sending itself does. ``AwaitedTransport`` makes one of whatever is awaited.
    """

    def post(
        self,
        path: str,
        body: bytes,
        idempotency_key: str,
        timeout: float | None,
        on_end: Callable[[Outcome], None],
    ) -> Exchange:
        """POST ``body`` (JSON) to ``path`` under the target's base; hands on what can be aborted.

        ``path`` is the line's url without its ``/v1``, such as
        ``/chat/completions``. ``timeout`` (seconds) shortens the target's own.
        ``on_end`` is called once, after this has returned, and must not raise.
        """
        ...

    async def close(self) -> None:
        """Abort what is in flight, whose ends are told as RESET, and close every connection."""
        ...


class CoroutineTransport(Protocol):
    """The same for those who wait: one coroutine a request."""

    async def send(
        self, path: str, body: bytes, idempotency_key: str, timeout: float | None = None
    ) -> Reply:
        """As ``Transport.post``; raises TransportFault. Cancelling the call aborts the request."""
        ...

    async def close(self) -> None:
        """Abort what is in flight and close every connection."""
        ...


class AskingTransport(CoroutineTransport, Protocol):
    """One by which a server can be asked what it has, too."""

    async def get(self, path: str, timeout: float | None = None) -> Reply:
        """GET ``path`` under the target's base; raises TransportFault."""
        ...
