"""batchmill's transport with nothing around it: the floor under the engine's cost a line.

Takes the input, the base URL and the slots; prints the seconds and CPU seconds
of sending the bodies, which are cut out before.
"""

import asyncio
import sys
import time
from pathlib import Path

import uvloop

from batchmill.domain.lines import parse_request
from batchmill.ports import Outcome, Reply, Target
from batchmill.upstream.http import HttpTransport


class Run:
    """Sends bodies, as many at once as there are slots."""

    def __init__(self, transport: HttpTransport, bodies: list[bytes]) -> None:
        self._transport = transport
        self._bodies = iter(bodies)
        self._left = len(bodies)
        self.over = asyncio.Event()

    def send_next(self) -> None:
        """Send one more, if there is one."""
        body = next(self._bodies, None)
        if body is not None:
            path, key = "/chat/completions", "0123456789abcdef"
            self._transport.post(path, body, key, None, self._on_end)

    def _on_end(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Reply) or outcome.status != 200:
            raise RuntimeError(f"a request ended with {outcome!r}")
        self._left -= 1
        self.send_next()
        if not self._left:
            self.over.set()


async def main(source: Path, base: str, limit: int) -> None:
    """Send every body of ``source``."""
    with source.open("rb") as lines:
        bodies = [parse_request(line).body for line in lines]
    transport = HttpTransport(Target(base))
    run = Run(transport, bodies)
    began, began_cpu = time.perf_counter(), time.process_time()
    for _ in range(limit):
        run.send_next()
    await run.over.wait()
    print(time.perf_counter() - began, time.process_time() - began_cpu)
    await transport.close()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
