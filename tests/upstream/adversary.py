"""A server that answers each request as it was told to, mostly not as it should."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random

from generated_answers import cut, make_answer, spoil
from raw_upstream import Peer, plain

from batchmill.ports import Reply

SEEN_AT_ONCE = 8_000  # bytes that come in one piece if they are sent in one


@dataclass(frozen=True)
class Step:
    """One request: what the server does with it, and when it is called off, if ever."""

    act: str
    seed: int = 0
    size: int = 0
    turns: int | None = None


class Adversary:
    """Plays the steps; a request's Idempotency-Key is the number of its step."""

    def __init__(self, steps: Mapping[int, Step], bodies: Mapping[int, bytes]) -> None:
        self._steps = steps
        self._bodies = bodies
        # What a request may be answered with, where that is known beforehand.
        self.right: dict[int, Reply] = {}
        self.over: dict[int, asyncio.Event] = defaultdict(asyncio.Event)

    async def play(self, peer: Peer) -> None:
        is_open = True
        while is_open:
            head = await peer.receive_head()
            number = _number_of(head)
            step = self._steps[number]
            if not step.act.startswith("early"):
                await peer.receive_body(len(self._bodies[number]))
            is_open = await ACTS[step.act](self, peer, number, Random(step.seed))

    async def answer(self, peer: Peer, number: int, chance: Random) -> bool:
        """Rightly, in any form and in any pieces."""
        made = make_answer(chance, self._bodies[number])
        assert isinstance(made.outcome, Reply)
        self.right[number] = made.outcome
        for piece in cut(chance, made.data):
            await peer.send(piece)
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        return not made.ends

    async def spoil(self, peer: Peer, number: int, chance: Random) -> bool:
        """With something that was an answer once; in one piece, so that no rest comes late."""
        data = spoil(chance, make_answer(chance, self._bodies[number]).data)
        await peer.send(data[:SEEN_AT_ONCE])
        return False

    async def cut_off(self, peer: Peer, number: int, chance: Random) -> bool:
        """With the beginning of an answer."""
        data = plain(self._bodies[number])
        await peer.send(data[: chance.randrange(len(data))])
        return False

    async def reset(self, peer: Peer, number: int, chance: Random) -> bool:
        """By ending the connection."""
        peer.cut()
        return False

    async def stall(self, peer: Peer, number: int, chance: Random) -> bool:
        """With the beginning of an answer, and silence."""
        data = plain(self._bodies[number])
        await peer.send(data[: chance.randrange(len(data))])
        await peer.wait_for_end()
        return False

    async def too_long(self, peer: Peer, number: int, chance: Random) -> bool:
        """With a length that is beyond the body."""
        body = self._bodies[number]
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(body) + 5), body)
        if chance.random() < 0.5:
            return False
        await peer.wait_for_end()
        return False

    async def too_short(self, peer: Peer, number: int, chance: Random) -> bool:
        """With a length that is within the body."""
        body = self._bodies[number][: SEEN_AT_ONCE // 2]
        length = chance.randrange(len(body))
        self.right[number] = Reply(200, body[:length])
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + body)
        return True

    async def stray(self, peer: Peer, number: int, chance: Random) -> bool:
        """Rightly, with an answer behind it for which nobody asked."""
        body = self._bodies[number][: SEEN_AT_ONCE // 2]
        self.right[number] = Reply(200, body)
        await peer.send(plain(body) + plain(b"stray"))
        return True

    async def use_after_close(self, peer: Peer, number: int, chance: Random) -> bool:
        """Rightly, with a close that is announced and not done."""
        body = self._bodies[number]
        self.right[number] = Reply(200, body)
        await peer.send(plain(body, fields="Connection: close\r\n"))
        return True

    async def close_after(self, peer: Peer, number: int, chance: Random) -> bool:
        """Rightly, with a close that is done and not announced."""
        body = self._bodies[number]
        self.right[number] = Reply(200, body)
        await peer.send(plain(body))
        return False

    async def early(self, peer: Peer, number: int, chance: Random) -> bool:
        """Rightly, before the body is read; then that is read."""
        await self._refuse(peer, number)
        await peer.receive_body(len(self._bodies[number]))
        return True

    async def early_and_close(self, peer: Peer, number: int, chance: Random) -> bool:
        """Rightly, instead of reading the body."""
        await self._refuse(peer, number)
        return False

    async def early_and_deaf(self, peer: Peer, number: int, chance: Random) -> bool:
        """Rightly, and then neither reads nor closes until that request is over."""
        peer.stop_reading()
        await self._refuse(peer, number)
        await self.over[number].wait()
        peer.cut()
        return False

    async def _refuse(self, peer: Peer, number: int) -> None:
        body = self._bodies[number][:50]
        self.right[number] = Reply(413, body)
        await peer.send(plain(body, "413 Content Too Large"))


Act = Callable[[Adversary, Peer, int, Random], Awaitable[bool]]
ACTS: Mapping[str, Act] = {
    "answer": Adversary.answer,
    "spoil": Adversary.spoil,
    "cut off": Adversary.cut_off,
    "reset": Adversary.reset,
    "stall": Adversary.stall,
    "too long": Adversary.too_long,
    "too short": Adversary.too_short,
    "stray": Adversary.stray,
    "use after close": Adversary.use_after_close,
    "close after": Adversary.close_after,
    "early": Adversary.early,
    "early and close": Adversary.early_and_close,
    "early and deaf": Adversary.early_and_deaf,
}


def _number_of(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name == b"Idempotency-Key":
            return int(value)
    raise AssertionError("A request without a key.")
