"""litellm's asynchronous completion in a semaphore, as its documentation has it.

Takes the input, the output, the base URL and the slots; prints the seconds and CPU seconds from
after its imports to its end.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

# Its price list is in the package too: nothing is fetched.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

litellm.telemetry = False
litellm.suppress_debug_info = True


async def ask(slots: asyncio.Semaphore, url: str, request: dict[str, Any]) -> str:
    """Send one request; its result line."""
    body = dict(request["body"])
    model = f"openai/{body.pop('model')}"
    async with slots:
        answer = await litellm.acompletion(model=model, api_base=url, api_key="none", **body)
    return json.dumps({"custom_id": request["custom_id"], "response": {"body": answer.to_dict()}})


async def main(source: Path, target: Path, url: str, limit: int) -> None:
    """Answer every line of ``source``, in order, into ``target``."""
    requests = [json.loads(line) for line in source.read_text().splitlines()]
    slots = asyncio.Semaphore(limit)
    lines = await asyncio.gather(*(ask(slots, url, one) for one in requests))
    target.write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    began, began_cpu = time.perf_counter(), time.process_time()
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
    print(time.perf_counter() - began, time.process_time() - began_cpu)
