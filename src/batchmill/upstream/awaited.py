"""Requests as tasks: whatever is awaited becomes a transport that calls back."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from batchmill.ports import CoroutineTransport, FaultKind, Outcome, Reply, TransportFault


class AwaitedTransport:
    """Implements ``ports.Transport`` over one whose requests are coroutines: a task for each."""

    def __init__(self, inner: CoroutineTransport) -> None:
        self._inner = inner
        self._exchanges: set[AwaitedExchange] = set()

    def post(
        self,
        path: str,
        body: bytes,
        idempotency_key: str,
        timeout: float | None,
        on_end: Callable[[Outcome], None],
    ) -> "AwaitedExchange":
        """See ``ports.Transport.post``."""
        send = partial(self._inner.send, path, body, idempotency_key, timeout)
        exchange = AwaitedExchange(send, on_end)
        self._exchanges.add(exchange)
        exchange.task.add_done_callback(lambda _: self._exchanges.discard(exchange))
        return exchange

    async def close(self) -> None:
        """See ``ports.Transport.close``."""
        exchanges = tuple(self._exchanges)
        for exchange in exchanges:
            exchange.reset()
        await asyncio.gather(*(one.task for one in exchanges), return_exceptions=True)
        await self._inner.close()


class AwaitedExchange:
    """A task that carries one request."""

    def __init__(
        self, send: Callable[[], Coroutine[Any, Any, Reply]], on_end: Callable[[Outcome], None]
    ) -> None:
        self._on_end: Callable[[Outcome], None] | None = on_end
        self.task = asyncio.create_task(self._carry(send))

    def cancel(self) -> None:
        """Abort it, and tell nobody."""
        self._on_end = None
        self.task.cancel()

    def reset(self) -> None:
        """Abort it, and say so."""
        on_end = self._on_end
        self.cancel()
        if on_end is not None:
            on_end(TransportFault(FaultKind.RESET, "the transport is closed"))

    async def _carry(self, send: Callable[[], Coroutine[Any, Any, Reply]]) -> None:
        outcome: Outcome
        try:
            outcome = await send()
        except asyncio.CancelledError:
            if self.task.cancelling():
                raise
            # Nobody aborted it: what it waited for was cancelled within.
            outcome = TransportFault(FaultKind.RESET, "the transport gave it up")
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            outcome = error
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(outcome)
