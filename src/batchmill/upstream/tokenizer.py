"""Counting tokens by an upstream's own tokenizer endpoint, where it has one.

vLLM and those like it count a whole request; llama.cpp cuts up a text, and the
words that its chat template adds are not among them. A server that is down or
says nonsense is no error here: whoever gets no count estimates one.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from batchmill.domain import envelope as env
from batchmill.ports import CoroutineTransport, Reply, Target, TransportFault
from batchmill.telemetry import Fact, get_logger
from batchmill.upstream.transports import open_asking

PATH: Final = "/tokenize"
PATIENCE: Final = 10.0
MEMORY: Final = 300.0

_AT_ONCE: Final = 8
_PROBE: Final = "a"

log = get_logger()


class Dialect(StrEnum):
    """How an upstream wants to be asked."""

    COUNTING = "counting"  # {"model", "messages" | "prompt"} is answered with {"count"}
    CUTTING = "cutting"  # {"content"} is answered with {"tokens"}
    NONE = "none"  # it has no such endpoint


@dataclass(frozen=True, slots=True)
class Seat:
    """An upstream to ask. ``model`` is what it calls the model, where it has a name of its own."""

    target: Target
    model: str | None = None


class _Unusable(Exception):
    """The upstream's answer holds no count, or the line nothing that can be counted."""


class _Asked(Struct, gc=False):
    messages: env.Span = UNSET
    prompt: env.Span = UNSET
    input: env.Span = UNSET
    tools: env.Span = UNSET


class _Answer(Struct, gc=False):
    count: int | UnsetType = UNSET
    tokens: list[Raw] | UnsetType | None = UNSET


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_ASKED: Final = msgspec.json.Decoder(_Asked)
_ANYTHING: Final = msgspec.json.Decoder()


class Tokenizer:
    """Asks upstreams, and remembers for some minutes how each wants to be asked.

    ``now`` is a clock in seconds; ``patience`` bounds one count of many bodies.
    """

    def __init__(self, now: Callable[[], float], *, patience: float = PATIENCE) -> None:
        self._now = now
        self._patience = patience
        self._known: dict[str, tuple[Dialect, float]] = {}

    async def count(self, seat: Seat, model: str, bodies: Sequence[bytes]) -> Sequence[int] | None:
        """The input tokens of each body, or None where the upstream does not say.

        Raises ConfigError for a URL or a key that no request can be sent with.
        """
        root = replace(seat.target, url=seat.target.url.removesuffix("/v1"))
        transport = open_asking(root)
        try:
            async with asyncio.timeout(self._patience):
                return await self._count(transport, root, seat.model or model, bodies)
        except (TimeoutError, TransportFault, _Unusable) as fault:
            log.info(Fact.TOKENIZER_FAILED, upstream=root.url, reason=_reason(fault))
            return None
        finally:
            await transport.close()

    async def _count(
        self, transport: CoroutineTransport, root: Target, model: str, bodies: Sequence[bytes]
    ) -> Sequence[int] | None:
        dialect = await self._dialect(transport, root, model)
        if dialect is Dialect.NONE:
            return None
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(body: bytes) -> int:
            async with turns:
                return _read(await _send(transport, _question(dialect, model, body)), dialect)

        tasks = [asyncio.create_task(one(body)) for body in bodies]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _dialect(self, transport: CoroutineTransport, root: Target, model: str) -> Dialect:
        known = self._known.get(root.url)
        if known is not None and self._now() < known[1]:
            return known[0]
        # Each kind of server finds in this what it wants, and leaves the rest.
        probe = {"model": model, "prompt": _PROBE, "content": _PROBE}
        reply = await _send(transport, msgspec.json.encode(probe))
        dialect = _spoken(reply)
        self._known[root.url] = (dialect, self._now() + MEMORY)
        return dialect


def _reason(fault: Exception) -> str:
    if isinstance(fault, TransportFault):
        return fault.kind.value
    return "timeout" if isinstance(fault, TimeoutError) else "unusable"


async def _send(transport: CoroutineTransport, body: bytes) -> Reply:
    return await transport.send(PATH, body, "tokenize")


def _spoken(reply: Reply) -> Dialect:
    try:
        answer = _answer(reply)
    except _Unusable:
        return Dialect.NONE
    if isinstance(answer.count, int):
        return Dialect.COUNTING
    return Dialect.CUTTING if isinstance(answer.tokens, list) else Dialect.NONE


def _answer(reply: Reply) -> _Answer:
    if reply.status != 200:
        raise _Unusable
    try:
        return _ANSWER.decode(reply.body)
    except env.UNREADABLE:
        raise _Unusable from None


def _read(reply: Reply, dialect: Dialect) -> int:
    answer = _answer(reply)
    if dialect is Dialect.COUNTING and isinstance(answer.count, int) and answer.count >= 0:
        return answer.count
    if dialect is Dialect.CUTTING and isinstance(answer.tokens, list):
        return len(answer.tokens)
    raise _Unusable


def _question(dialect: Dialect, model: str, body: bytes) -> bytes:
    """What to send for a request's body; raises _Unusable."""
    try:
        asked = env.decode(_ASKED, body)
        if dialect is Dialect.CUTTING:
            return msgspec.json.encode({"content": _text(asked)})
        if asked.messages is UNSET:
            return msgspec.json.encode({"model": model, "prompt": _text(asked)})
    except env.UNREADABLE:
        raise _Unusable from None
    whole = {"model": model, "messages": asked.messages}
    return msgspec.json.encode(whole | ({} if asked.tools is UNSET else {"tools": asked.tools}))


def _text(asked: _Asked) -> str:
    """All text of a request, in its order."""
    spans = (asked.messages, asked.prompt, asked.input)
    return "\n".join(
        text
        for span in spans
        if not isinstance(span, UnsetType)
        for text in _texts(env.decode(_ANYTHING, bytes(span)))
    )


def _texts(value: object) -> list[str]:
    """The texts below a content, a message, a list of these; raises _Unusable for tokens."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, dict):
        return _texts(value.get("content") or value.get("text") or [])
    if value is None:
        return []
    raise _Unusable
