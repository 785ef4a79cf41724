"""Converters that pull from an iterable, run on a stream that comes by itself.

The converter has a thread of its own, which runs only while it is asked to: it
waits for each chunk that it needs, and for leave to go on behind each block
that it makes, so that neither side ever runs ahead of the other.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Final

BLOCK_BYTES: Final = 256 * 1024

Converter = Callable[[Iterator[bytes]], Iterable[bytes]]
"""Takes the chunks of a stream, makes the pieces of another."""

_MOST_AT_ONCE: Final = 64


class Converting:
    """Runs converters; who comes when ``most_at_once`` run waits for a turn.

    The threads are its own: a slow sender keeps one for as long as it sends,
    and nobody's short work should wait for that.
    """

    def __init__(self, most_at_once: int = _MOST_AT_ONCE) -> None:
        self._turns = asyncio.Semaphore(most_at_once)

    async def convert(
        self, chunks: AsyncIterator[bytes], converter: Converter
    ) -> AsyncGenerator[bytes]:
        """What ``converter`` makes of ``chunks``, in blocks of some size; raises what it raises.

        Whoever gives it up closes it: the thread ends with that.
        """
        async with self._turns:
            work = _Work(converter)
            work.start()
            try:
                while (wish := await work.next_wish()) is not None:
                    if wish:
                        yield wish
                    work.grant(b"" if wish else await anext(chunks, b""))
            finally:
                work.give_up()


class _GivenUp(BaseException):
    """Nobody wants any more of it."""


class _Work:
    """A converter in its thread, seen from the loop.

    Each wish is answered by one grant: a block is a wish to go on, the empty
    one a wish for the next chunk, whose empty one is the end of the stream.
    """

    def __init__(self, converter: Converter) -> None:
        self._converter = converter
        self._loop = asyncio.get_running_loop()
        self._wishes = asyncio.Queue[bytes | BaseException | None]()
        self._grants = SimpleQueue[bytes | None]()

    def start(self) -> None:
        Thread(target=self._run, name="converter", daemon=True).start()

    async def next_wish(self) -> bytes | None:
        """What the converter asks for or has made; None at its end. Raises what it raised."""
        wish = await self._wishes.get()
        if isinstance(wish, BaseException):
            raise wish
        return wish

    def grant(self, chunk: bytes) -> None:
        self._grants.put(chunk)

    def give_up(self) -> None:
        """Let the thread end, wherever it waits; harmless when it has."""
        self._grants.put(None)

    # --- from here on in the thread ---

    def _run(self) -> None:
        try:
            for block in _gathered(self._converter(self._chunks())):
                self._wish(block)
        except _GivenUp:
            return
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._say(error)
        else:
            self._say(None)

    def _chunks(self) -> Iterator[bytes]:
        while chunk := self._wish(b""):
            yield chunk

    def _wish(self, wish: bytes) -> bytes:
        self._say(wish)
        granted = self._grants.get()
        if granted is None:
            raise _GivenUp
        return granted

    def _say(self, wish: bytes | BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            self._loop.call_soon_threadsafe(self._wishes.put_nowait, wish)


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces put together until they are worth a wish."""
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= BLOCK_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
