"""A model server that is simulated: so many slots, a time a request, and it keeps account.

A request takes a slot for a time that is drawn evenly from the mean more or less a share of it;
what finds no slot waits in line. ``GET /figures`` tells what was asked, answered and answered
twice, by the numbers in the requests, and how busy the slots were. Prints its port, and runs until
SIGTERM.
"""

import argparse
import asyncio
import json
import random
import re
import signal
from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

from bench.inputs import NUMBERED
from bench.occupancy import Occupancy
from bench.upstream import REPLY, request_size

NUMBER = re.compile(NUMBERED.encode() + rb" (\d{7})")
FIRST_SECONDS = 30.0
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True)
class Figures:
    """What an engine has seen. ``worked`` is slot-seconds, ``first`` those of the first 30 s."""

    requests: int
    answered: int
    lines: int
    again: int
    working: int
    most: int
    worked: float
    first: float
    elapsed: float


@dataclass(eq=False)
class Visit:
    """A request, from its arrival to its answer."""

    guest: "Guest"
    number: int
    timer: asyncio.TimerHandle | None = None


class Engine:
    """The slots, and the line in front of them. ``slots`` 0 is as many as are asked for."""

    def __init__(self, slots: int, mean: float, spread: float, seed: int) -> None:
        self._slots = slots
        self._mean = mean
        self._spread = spread
        self._dice = random.Random(seed)
        self._line: deque[Visit] = deque()
        self._occupancy = Occupancy()
        self._requests = 0
        self._answers: Counter[int] = Counter()

    def enter(self, visit: Visit) -> None:
        """Begin to work on it, or let it wait."""
        self._requests += 1
        if self._slots and self._occupancy.busy >= self._slots:
            self._line.append(visit)
        else:
            self._work(visit)

    def leave(self, visit: Visit) -> None:
        """Its client has gone: an engine stops to compute for it."""
        if visit.timer is None:
            self._line.remove(visit)
            return
        visit.timer.cancel()
        self._free()

    def figures(self) -> Figures:
        """The account so far."""
        answered, seen = sum(self._answers.values()), self._occupancy
        return Figures(
            requests=self._requests,
            answered=answered,
            lines=len(self._answers),
            again=answered - len(self._answers),
            working=seen.busy,
            most=seen.most,
            worked=seen.worked(seen.elapsed),
            first=seen.worked(FIRST_SECONDS),
            elapsed=seen.elapsed,
        )

    def _work(self, visit: Visit) -> None:
        loop = asyncio.get_running_loop()
        seconds = self._mean * self._dice.uniform(1.0 - self._spread, 1.0 + self._spread)
        self._occupancy.change(1, loop.time())
        visit.timer = loop.call_later(seconds, self._finish, visit)

    def _finish(self, visit: Visit) -> None:
        self._answers[visit.number] += 1
        visit.guest.answer(visit)
        self._free()

    def _free(self) -> None:
        self._occupancy.change(-1, asyncio.get_running_loop().time())
        if self._line:
            self._work(self._line.popleft())


class Guest(asyncio.Protocol):
    """One connection: one request after the other."""

    _transport: asyncio.WriteTransport

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held = b""
        self._visit: Visit | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        self._next()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._visit is not None:
            self._engine.leave(self._visit)

    def answer(self, visit: Visit) -> None:
        """The work is done."""
        assert visit is self._visit
        self._visit = None
        self._transport.write(REPLY)
        self._next()

    def _next(self) -> None:
        while self._visit is None and (size := request_size(self._held)) <= len(self._held):
            if not size:
                return
            request, self._held = self._held[:size], self._held[size:]
            self._serve(request)

    def _serve(self, request: bytes) -> None:
        if request.startswith(b"POST"):
            found = NUMBER.search(request)
            self._visit = Visit(self, int(found[1]) if found else -1)
            self._engine.enter(self._visit)
        elif request.startswith(b"GET /figures"):
            body = json.dumps(asdict(self._engine.figures())).encode()
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            self._transport.write(head + body)
        else:
            self._transport.write(NOT_FOUND)


async def main(engine: Engine) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(lambda: Guest(engine), "127.0.0.1", 0, backlog=8192)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.engine", description=__doc__)
    parser.add_argument("--slots", type=int, default=0)
    parser.add_argument("--mean", type=float, default=1.0, help="seconds a request")
    parser.add_argument("--spread", type=float, default=0.0, help="more or less, as a share")
    parser.add_argument("--seed", type=int, default=6)
    asked = parser.parse_args()
    uvloop.run(main(Engine(asked.slots, asked.mean, asked.spread, asked.seed)))
