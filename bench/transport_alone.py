"""batchmill's transport with nothing around it: the floor under the engine's cost a line.

Takes the input, the base URL and the slots; prints the seconds and CPU seconds
of sending the bodies, which are cut out before.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from batchmill.domain.lines import parse_request
from batchmill.ports import Target
from batchmill.upstream.http import HttpTransport


async def slot(transport: HttpTransport, bodies: Iterator[bytes]) -> None:
    """Send one body after the other."""
    for body in bodies:
        reply = await transport.send("/chat/completions", body, "0123456789abcdef")
        assert reply.status == 200


async def main(source: Path, base: str, limit: int) -> None:
    """Send every body of ``source``."""
    with source.open("rb") as lines:
        bodies = iter([parse_request(line).body for line in lines])
    transport = HttpTransport(Target(base))
    began, began_cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(slot(transport, bodies) for _ in range(limit)))
    print(time.perf_counter() - began, time.process_time() - began_cpu)
    await transport.close()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
