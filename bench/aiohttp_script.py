"""What people write where there is no batchmill: aiohttp, a semaphore, gather.

Kept as good as such scripts get: uvloop, one connection a slot, no retries.
Takes the input, the output, the base URL and the slots; prints the seconds and
CPU seconds from after its imports to its end.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import uvloop


async def ask(
    session: aiohttp.ClientSession, slots: asyncio.Semaphore, url: str, request: dict[str, Any]
) -> str:
    """Send one request; its result line."""
    async with slots, session.post(url, json=request["body"]) as response:
        response.raise_for_status()
        body = await response.json()
    return json.dumps({"custom_id": request["custom_id"], "response": {"body": body}})


async def main(source: Path, target: Path, base: str, limit: int) -> None:
    """Answer every line of ``source``, in order, into ``target``."""
    requests = [json.loads(line) for line in source.read_text().splitlines()]
    slots = asyncio.Semaphore(limit)
    url = f"{base}/chat/completions"
    connector = aiohttp.TCPConnector(limit=limit)
    async with aiohttp.ClientSession(connector=connector) as session:
        lines = await asyncio.gather(*(ask(session, slots, url, one) for one in requests))
    target.write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    began, began_cpu = time.perf_counter(), time.process_time()
    uvloop.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
    print(time.perf_counter() - began, time.process_time() - began_cpu)
