"""openai-batch: its library to the end, its command line in two steps; prints what came back."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from openai_batch import (  # type: ignore[import-not-found,unused-ignore]
    Batch,
    get_provider_by_base_url,
)
from openai_batch.run import (  # type: ignore[import-not-found,unused-ignore]
    main as command_line,
)

OUT, ERR = "out.jsonl", "err.jsonl"
ENDED = {"completed", "failed", "expired", "cancelled"}


def provider(url: str, key: str) -> Any:
    found = get_provider_by_base_url(url)
    found.api_key = key
    return found


def by_library(url: str, key: str, model: str) -> dict[str, Any]:
    """Chat, then scores, which OpenAI itself has not."""
    said = [[{"role": "user", "content": f"word {at}"}] for at in range(3)]
    chat = written("chat.jsonl", url, key, *({"model": model, "messages": one} for one in said))
    done, output, errors = chat.submit_wait_download(interval=0.1, metadata={"by": "openai-batch"})
    pairs = {"model": model, "text_1": "a cat", "text_2": ["a cat", "a dog"]}
    _, scores, _ = written("score.jsonl", url, key, pairs).submit_wait_download(interval=0.1)
    return {"status": done.status, "lines": read(output), "errors": errors, "scores": read(scores)}


def written(path: str, url: str, key: str, *requests: dict[str, Any]) -> Any:
    """A batch that is ready to be submitted.

    Version 0.3.4 cannot submit a file that it has just written (it reads it
    after closing it), so a second object takes the file from its path.
    """
    writer = Batch(submission_input_file=path, provider=provider(url, key))
    for request in requests:
        writer.add_to_batch(**request)
    writer.submission_input_file.close()
    reader = Batch(submission_input_file=path, provider=provider(url, key))
    reader.batch_type = writer.batch_type
    return reader


def by_command_line(path: str, url: str, key: str) -> dict[str, Any]:
    """Create, then resume: between two looks it waits a minute, so the second step comes late."""
    where = ["--base-url", url, "--api-key", key]
    batch_id = command_line([path, "--create", *where])
    client = provider(url, key).get_client()
    while client.batches.retrieve(batch_id).status not in ENDED:
        time.sleep(0.1)
    command_line(["--resume", batch_id, "-o", OUT, "-e", ERR, *where])
    return {"lines": read(OUT), "errors": Path(ERR).exists()}


def read(path: str) -> list[Any]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def main(path: str, url: str, key: str, model: str) -> dict[str, Any]:
    return {
        "library": by_library(url, key, model),
        "command line": by_command_line(path, url, key),
    }


if __name__ == "__main__":
    answers = main(*sys.argv[1:])
    sys.stdout.write("\n" + json.dumps(answers))
