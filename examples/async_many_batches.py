"""Many batches side by side with the official client for asyncio, each safe to create twice.

pip install openai; batchmill serve; then run this. BATCHMILL_SERVER_URL and MODEL
name another server and another model.
"""

import asyncio
import json
import os
from uuid import uuid4

from openai import AsyncOpenAI
from openai.types import Batch

MODEL = os.environ.get("MODEL", "smollm2-135m-instruct")
ENDPOINT = "/v1/chat/completions"
TOPICS = ["rivers", "mountains", "cities", "birds"]
PER_BATCH = 5


def requests(topic: str) -> bytes:
    """The input file of a topic."""
    lines = []
    for number in range(PER_BATCH):
        said = [{"role": "user", "content": f"Fact {number + 1} about {topic}, in ten words."}]
        body = {"model": MODEL, "messages": said, "max_tokens": 40}
        line = {"custom_id": f"{topic}-{number}", "method": "POST", "url": ENDPOINT, "body": body}
        lines.append(json.dumps(line))
    return "\n".join(lines).encode()


async def run(client: AsyncOpenAI, topic: str) -> Batch:
    """Run one topic's batch to its end."""
    file = await client.files.create(file=(f"{topic}.jsonl", requests(topic)), purpose="batch")
    # With a key of its own a request that is repeated after a lost answer makes no second batch.
    batch = await client.batches.create(
        input_file_id=file.id,
        endpoint=ENDPOINT,
        completion_window="24h",
        metadata={"topic": topic},
        extra_headers={"Idempotency-Key": str(uuid4())},
    )
    while batch.status not in {"completed", "failed", "expired", "cancelled"}:
        await asyncio.sleep(1)
        batch = await client.batches.retrieve(batch.id)
    return batch


async def main() -> None:
    """Run all topics at once, and print each as it ends."""
    async with AsyncOpenAI(
        base_url=os.environ.get("BATCHMILL_SERVER_URL", "http://127.0.0.1:8080/v1"),
        api_key=os.environ.get("BATCHMILL_API_KEY", "unused"),
    ) as client:
        for ended in asyncio.as_completed([run(client, topic) for topic in TOPICS]):
            batch = await ended
            topic = (batch.metadata or {}).get("topic")
            counts, usage = batch.request_counts, batch.usage
            if counts and usage:
                done = f"{counts.completed} of {counts.total} answered"
                print(f"{topic}: {batch.status}, {done}, {usage.total_tokens} tokens")


asyncio.run(main())
