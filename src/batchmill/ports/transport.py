"""The transport: one request to an upstream."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """Files in PEM form that tell a server who is asking; one file may hold both."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how to reach a model server.

    ``url`` is its base, such as ``http://10.0.0.5:8000/v1``; ``api_key`` never
    shows in a repr. ``ca`` is a file with authorities that are trusted besides
    the machine's own.
    """

    url: str
    api_key: str | None = None
    connect_timeout: float = 10.0
    request_timeout: float = 600.0
    max_answer_bytes: int = 64 * 1024 * 1024
    ca: Path | None = None
    identity: Identity | None = None

    def __repr__(self) -> str:
        return f"Target({self.url!r})"


@dataclass(frozen=True, slots=True)
class Reply:
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


class Transport(Protocol):
    """Sends one POST to one upstream."""

    async def send(
        self, path: str, body: bytes, idempotency_key: str, timeout: float | None = None
    ) -> Reply:
        """POST ``body`` (JSON) to ``path`` under the target's base.

        ``path`` is the line's url without its ``/v1``, such as
        ``/chat/completions``. ``timeout`` shortens the target's own. Raises
        TransportFault. Cancelling the call aborts the request.
        """
        ...

    async def close(self) -> None:
        """Abort what is in flight and close every connection."""
        ...
