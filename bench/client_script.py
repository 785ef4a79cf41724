"""What the official client's examples lead to: one client, a semaphore, gather.

Takes the input, the output, the base URL and the slots; prints the seconds and
CPU seconds from after its imports to its end.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI


async def ask(client: AsyncOpenAI, slots: asyncio.Semaphore, request: dict[str, Any]) -> str:
    """Send one request; its result line."""
    async with slots:
        answer = await client.chat.completions.create(**request["body"])
    return json.dumps({"custom_id": request["custom_id"], "response": {"body": answer.to_dict()}})


async def main(source: Path, target: Path, base: str, limit: int) -> None:
    """Answer every line of ``source``, in order, into ``target``."""
    requests = [json.loads(line) for line in source.read_text().splitlines()]
    slots = asyncio.Semaphore(limit)
    async with AsyncOpenAI(base_url=base, api_key="none") as client:
        lines = await asyncio.gather(*(ask(client, slots, one) for one in requests))
    target.write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    began, began_cpu = time.perf_counter(), time.process_time()
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
    print(time.perf_counter() - began, time.process_time() - began_cpu)
