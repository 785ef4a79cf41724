"""litellm: files and batches by its functions for OpenAI, sync and async; prints what came back."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import litellm  # type: ignore[import-not-found,unused-ignore]

OPENAI = {"custom_llm_provider": "openai"}
ENDED = {"completed", "failed", "expired", "cancelled"}


def main(path: Path) -> dict[str, Any]:
    file = litellm.create_file(file=path.open("rb"), purpose="batch", **OPENAI)
    made = litellm.create_batch(
        completion_window="24h",
        endpoint="/v1/chat/completions",
        input_file_id=file.id,
        metadata={"by": "litellm"},
        **OPENAI,
    )
    batch = made
    while batch.status not in ENDED:
        time.sleep(0.1)
        batch = litellm.retrieve_batch(batch_id=made.id, **OPENAI)
    content = litellm.file_content(file_id=batch.output_file_id, **OPENAI)
    listed = litellm.list_batches(limit=1, **OPENAI)
    return {
        "status": batch.status,
        "counts": batch.request_counts.model_dump(),
        "metadata": batch.metadata,
        "newest": listed.data[0].id == made.id,
        "lines": [json.loads(line) for line in content.text.splitlines()],
        "later": asyncio.run(again(path)),
        "deleted": litellm.file_delete(file_id=file.id, **OPENAI).deleted,
    }


async def again(path: Path) -> str:
    """The same by the asynchronous functions, and a cancel that comes too late."""
    file = await litellm.acreate_file(file=path.open("rb"), purpose="batch", **OPENAI)
    made = await litellm.acreate_batch(
        completion_window="24h",
        endpoint="/v1/chat/completions",
        input_file_id=file.id,
        **OPENAI,
    )
    batch = made
    while batch.status not in ENDED:
        await asyncio.sleep(0.1)
        batch = await litellm.aretrieve_batch(batch_id=made.id, **OPENAI)
    try:
        await litellm.acancel_batch(batch_id=made.id, **OPENAI)
    except Exception as error:
        return str(getattr(error, "status_code", error))
    return "cancelled"


json.dump(main(Path(sys.argv[1])), sys.stdout)
