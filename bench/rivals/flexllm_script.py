"""flexllm's batch with a checkpoint file, as its documentation has it.

Takes the input, the output, the base URL and the slots; prints the seconds and CPU seconds from
after its imports to its end, and how many answers there are. Run again it goes on.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from flexllm import LLMClient


async def main(source: Path, target: Path, url: str, limit: int) -> int:
    """Answer every line that has no answer yet; how many have one."""
    requests = [json.loads(line) for line in source.read_text().splitlines()]
    first = requests[0]["body"]
    async with LLMClient(
        base_url=url, model=first["model"], api_key="none", concurrency_limit=limit
    ) as client:
        results = await client.chat_batch(
            [request["body"]["messages"] for request in requests],
            output_jsonl=str(target),
            show_progress=False,
            max_tokens=first["max_tokens"],
        )
    return int(results.success_count)


if __name__ == "__main__":
    began, began_cpu = time.perf_counter(), time.process_time()
    answers = asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
    print(time.perf_counter() - began, time.process_time() - began_cpu, answers)
