"""Requests to model servers over HTTP/1.1, at little more than the kernel's own cost.

``HttpTransport`` is the port's implementation; ``fetch_models`` asks a server
what it serves. The parts stand in the ``http_…`` modules beside this one. A
request is written once and, where a kept connection turns out to be closed,
once more on a new one: callers never see that.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial

import msgspec

from batchmill.domain.errors import ConfigError
from batchmill.ports import AskingTransport, Outcome, Reply, Target
from batchmill.upstream.http_address import IDLE_TIMEOUT, RequestHeads, check_key, parse_url
from batchmill.upstream.http_exchange import HttpExchange
from batchmill.upstream.http_pool import Pool, PoolSettings
from batchmill.upstream.http_tls import make_context


class HttpTransport:
    """Sends requests to one target; implements ``ports.Transport`` and ``CoroutineTransport``."""

    __slots__ = ("_heads", "_pool", "_request_timeout")

    def __init__(
        self,
        target: Target,
        *,
        idle_timeout: float = IDLE_TIMEOUT,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises ConfigError for a URL, key or file that cannot be used.

        Kept connections close after ``idle_timeout`` seconds without use;
        ``wall_clock`` (Unix seconds) is what dates in Retry-After are measured
        against.
        """
        address = parse_url(target.url)
        self._heads = RequestHeads(address, target.api_key)
        self._request_timeout = target.request_timeout
        settings = PoolSettings(
            max_answer_bytes=target.max_answer_bytes,
            connect_timeout=target.connect_timeout,
            first_byte_timeout=target.first_byte_timeout,
            idle_timeout=idle_timeout,
            tls=make_context(target) if address.tls else None,
            wall_clock=wall_clock,
        )
        self._pool = Pool(address, settings)

    def post(
        self,
        path: str,
        body: bytes,
        idempotency_key: str,
        timeout: float | None,
        on_end: Callable[[Outcome], None],
    ) -> HttpExchange:
        """See ``ports.Transport.post``.

        Raises ValueError where ``path`` or ``idempotency_key`` cannot stand in a request head.
        """
        check_key(idempotency_key)
        head = f"{self._heads.post(path)}{idempotency_key}\r\nContent-Length: {len(body)}\r\n\r\n"
        return self._begin(head.encode("ascii"), body, timeout, on_end)

    async def send(
        self, path: str, body: bytes, idempotency_key: str, timeout: float | None = None
    ) -> Reply:
        """POST ``body``; see ``ports.CoroutineTransport.send``. Raises ValueError as ``post``."""
        return await _ended(partial(self.post, path, body, idempotency_key, timeout))

    async def get(self, path: str, timeout: float | None = None) -> Reply:
        """GET ``path`` under the target's base; raises TransportFault and ValueError."""
        return await _ended(partial(self._begin, self._heads.get(path), b"", timeout))

    async def close(self) -> None:
        """Abort what is in flight (its callers get RESET) and close every connection."""
        await self._pool.close()

    def _begin(
        self, head: bytes, body: bytes, timeout: float | None, on_end: Callable[[Outcome], None]
    ) -> HttpExchange:
        allowed = self._request_timeout
        if timeout is not None and timeout < allowed:
            allowed = timeout
        exchange = HttpExchange(self._pool, head, body, self._pool.now() + allowed, on_end)
        if allowed > 0:
            exchange.begin()
        else:
            exchange.refuse()
        return exchange


async def _ended(begin: Callable[[Callable[[Outcome], None]], HttpExchange]) -> Reply:
    """The reply of what ``begin`` begins; raises what else it ends with."""
    ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def settle(outcome: Outcome) -> None:
        # Whoever waits may have been cancelled in the same turn.
        if not ended.done():
            ended.set_result(outcome)

    exchange = begin(settle)
    try:
        outcome = await ended
    finally:
        exchange.cancel()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class _Model(msgspec.Struct):
    id: str


class _ModelList(msgspec.Struct):
    data: list[_Model]


async def fetch_models(
    target: Target, connect: Callable[[Target], AskingTransport] = HttpTransport
) -> list[str]:
    """The ids in the target's ``/models``, in its order; ``connect`` is what reaches it.

    Raises TransportFault where no answer comes, and ConfigError where the
    answer is no model list.
    """
    transport = connect(target)
    try:
        reply = await transport.get("/models")
    finally:
        await transport.close()
    if reply.status in {401, 403}:
        raise ConfigError(
            f"The upstream {target.url} refused the API key (status {reply.status} for /models): "
            "check the key that is set for it."
        )
    if reply.status != 200:
        raise ConfigError(
            f"The upstream {target.url} answered /models with status {reply.status}: check that "
            "the URL ends where /chat/completions would follow, mostly with /v1."
        )
    return _read_models(target, reply.body)


def _read_models(target: Target, body: bytes) -> list[str]:
    try:
        listed = msgspec.json.decode(body, type=_ModelList)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ConfigError(
            f"The upstream {target.url} answered /models with something that is no OpenAI model "
            "list: name its models in the configuration."
        ) from None
    return [model.id for model in listed.data]
