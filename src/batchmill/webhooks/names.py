"""Looking names up without making anybody else wait for it.

The loop's own way would share a handful of threads with everything that waits
for a disk or an upstream; a name server that does not answer could hold them
all. So each look-up has a thread of its own, which nobody waits for at exit.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence

LookUp = Callable[[str, int], Sequence[str]]

# Look-ups that were given up may go on for half a minute: this many, and no more.
_AT_ONCE = 128


class Names:
    """Resolves names; ``look_up`` blocks, and raises OSError where there is no answer."""

    def __init__(self, look_up: LookUp | None = None, *, at_once: int = _AT_ONCE) -> None:
        self._look_up = look_up or _ask_system
        self._free = threading.Semaphore(at_once)

    async def resolve(self, name: str, port: int) -> Sequence[str]:
        """The addresses of ``name``, best first; raises OSError."""
        if not self._free.acquire(blocking=False):
            raise OSError("too many names are being looked up")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()
        threading.Thread(
            target=self._work, args=(name, port, answer, loop), name="look-up", daemon=True
        ).start()
        return await answer

    def _work(
        self,
        name: str,
        port: int,
        answer: asyncio.Future[Sequence[str]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        try:
            found: Sequence[str] | OSError = self._look_up(name, port)
        except (OSError, UnicodeError) as error:  # the second is a name that no server could have
            found = error if isinstance(error, OSError) else OSError("no name")
        finally:
            self._free.release()
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(_tell, answer, found)


def _tell(answer: asyncio.Future[Sequence[str]], found: Sequence[str] | OSError) -> None:
    if answer.done():
        return
    if isinstance(found, OSError):
        answer.set_exception(found)
    else:
        answer.set_result(found)


def _ask_system(name: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))
