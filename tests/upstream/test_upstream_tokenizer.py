"""Counting tokens by an upstream's own endpoint, and what happens where it has none."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from raw_upstream import Peer, answer, listen, plain
from structlog.testing import capture_logs
from upstream_loops import Run, on_both_loops

from batchmill.ports import Target
from batchmill.upstream.mock import MockUpstream, Script, Tokenizes
from batchmill.upstream.tokenizer import MEMORY, Seat, Tokenizer

pytestmark = on_both_loops


def body(**fields: Any) -> bytes:
    return msgspec.json.encode({"model": "m", **fields})


def chat(*texts: str) -> bytes:
    return body(messages=[{"role": "user", "content": text} for text in texts])


BODIES = [
    chat("one two three"),
    chat("one", "two three"),
    body(messages=[{"role": "user", "content": [{"type": "text", "text": "one two"}]}]),
    body(prompt="one two three four"),
    body(input=["one two", "three"]),
    body(messages=[]),
]
WORDS = [3, 3, 2, 4, 3, 0]


class Hand:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@asynccontextmanager
async def started(script: Script) -> AsyncIterator[tuple[MockUpstream, Seat]]:
    mock = MockUpstream(script)
    try:
        yield mock, Seat(Target(await mock.start(), api_key="sk-1"))
    finally:
        await mock.stop()


@pytest.mark.parametrize("dialect", [Tokenizes.VLLM, Tokenizes.LLAMA_CPP])
def test_each_body_is_counted_in_its_order(run: Run, dialect: Tokenizes) -> None:
    async def main() -> None:
        script = Script(tokenizes=dialect, require_key="sk-1")
        async with started(script) as (mock, seat):
            assert await Tokenizer(Hand()).count(seat, "m", BODIES) == WORDS
            assert mock.tokenized == len(BODIES) + 1  # once to find out how to ask
            assert mock.stats.requests == 0

    run(main())


def test_more_bodies_than_are_asked_for_at_once_are_all_counted(run: Run) -> None:
    async def main() -> None:
        async with started(Script()) as (_, seat):
            bodies = [chat("word " * count) for count in range(100)]
            assert await Tokenizer(Hand()).count(seat, "m", bodies) == list(range(100))

    run(main())


@pytest.mark.parametrize("dialect", list(Tokenizes))
def test_how_to_ask_is_found_out_once_in_a_while(run: Run, dialect: Tokenizes) -> None:
    async def main() -> None:
        clock = Hand()
        tokenizer = Tokenizer(clock)
        async with started(Script(tokenizes=dialect)) as (mock, seat):
            asked = []
            for moment in (0.0, MEMORY - 0.5, MEMORY, MEMORY + 1):
                clock.time = moment
                before = mock.tokenized
                found = await tokenizer.count(seat, "m", [chat("a b")])
                assert found == (None if dialect is Tokenizes.NOT else [2])
                asked.append(mock.tokenized - before)
        # A server without the endpoint answers 404 before it counts.
        assert asked == ([0, 0, 0, 0] if dialect is Tokenizes.NOT else [2, 1, 2, 1])

    run(main())


def test_the_upstreams_own_name_of_the_model_is_used(run: Run) -> None:
    async def main() -> None:
        seen: list[Any] = []

        async def play(peer: Peer) -> None:
            while True:
                head, sent = await peer.receive()
                assert head.startswith(b"POST /tokenize HTTP/1.1\r\n")
                seen.append(msgspec.json.decode(sent))
                await peer.send(plain(b'{"count":7}'))

        async with listen(play) as upstream:
            seat = Seat(upstream.target(), model="theirs")
            tools = [{"type": "function"}]
            messages = [{"role": "user", "content": "hi"}]
            sent = body(messages=messages, tools=tools, temperature=0)
            assert await Tokenizer(Hand()).count(seat, "ours", [sent]) == [7]
        assert seen == [
            {"model": "theirs", "prompt": "a", "content": "a"},
            {"model": "theirs", "messages": messages, "tools": tools},
        ]

    run(main())


def test_an_upstream_that_is_down_gives_no_count(run: Run) -> None:
    async def main() -> None:
        async with started(Script()) as (mock, seat):
            await mock.stop()
            with capture_logs() as logged:
                assert await Tokenizer(Hand()).count(seat, "m", [chat("secret")]) is None
        assert [(one["event"], one["reason"]) for one in logged] == [
            ("tokenizer_failed", "unreachable")
        ]
        assert "secret" not in str(logged)

    run(main())


@pytest.mark.parametrize(
    "reply",
    [
        plain(b"<html>"),
        plain(b"[]"),
        plain(b"{}"),
        plain(b'{"count":"7"}'),
        plain(b'{"count":7.5}'),
        plain(b'{"count":-1}'),
        plain(b'{"tokens":null}'),
        plain(b'{"count":7}', "500 Oh"),
        plain(b'{"error":"no"}', "404 No"),
        b"nonsense\r\n\r\n",
    ],
)
def test_nonsense_is_no_count(run: Run, reply: bytes) -> None:
    async def main() -> None:
        async with listen(answer(reply)) as upstream:
            assert await Tokenizer(Hand()).count(Seat(upstream.target()), "m", [chat("a")]) is None

    run(main())


def test_an_answer_that_never_comes_is_not_waited_for(run: Run) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.receive()
            await peer.wait_for_end()

        async with listen(play) as upstream:
            tokenizer = Tokenizer(Hand(), patience=0.01)
            assert await tokenizer.count(Seat(upstream.target()), "m", [chat("a")]) is None

    run(main())


def test_one_count_that_fails_leaves_none(run: Run) -> None:
    async def main() -> None:
        replies = iter([plain(b'{"count":1}'), plain(b'{"count":2}'), plain(b"{}", "500 Oh")])
        turn = asyncio.Lock()

        async def play(peer: Peer) -> None:
            while True:
                await peer.receive()
                async with turn:
                    await peer.send(next(replies, plain(b'{"count":3}')))

        async with listen(play) as upstream:
            bodies = [chat("a")] * 5
            assert await Tokenizer(Hand()).count(Seat(upstream.target()), "m", bodies) is None

    run(main())


NOT_TEXT: list[Callable[[], bytes]] = [
    lambda: body(input=[1, 2, 3]),
    lambda: body(prompt={"a": 1}) + b"x",
    lambda: b'{"messages":' + b"[" * 5000 + b"]" * 5000 + b"}",
]


@pytest.mark.parametrize("made", NOT_TEXT)
@pytest.mark.parametrize("dialect", [Tokenizes.VLLM, Tokenizes.LLAMA_CPP])
def test_what_is_no_text_is_not_counted(
    run: Run, made: Callable[[], bytes], dialect: Tokenizes
) -> None:
    async def main() -> None:
        async with started(Script(tokenizes=dialect)) as (_, seat):
            assert await Tokenizer(Hand()).count(seat, "m", [made()]) is None

    run(main())
