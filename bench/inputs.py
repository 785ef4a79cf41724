"""Input files of the bench: lines of one size, each a request of its own."""

import json
from pathlib import Path

WORDS = "Tell in one sentence what this is about and whether it is worth reading on. "
# What each request's text begins with, and its number: no two are the same, and a server can tell.
NUMBERED = "Request"


def write_requests(path: Path, *, lines: int, line_bytes: int, model: str) -> None:
    """A file of ``lines`` requests for ``model``, each ``line_bytes`` long with its newline."""
    with path.open("w") as file:
        for number in range(lines):
            bare = _line(number, model, "")
            words = f"{NUMBERED} {number:07d}. " + WORDS * (line_bytes // len(WORDS) + 1)
            text = words[: line_bytes - len(bare) - 1]
            file.write(_line(number, model, text) + "\n")


def _line(number: int, model: str, text: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 64}
    return json.dumps(
        {
            "custom_id": f"request-{number:07d}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": body,
        }
    )


def first_body(path: Path) -> str:
    """The body of the first request, as JSON."""
    with path.open() as file:
        return json.dumps(json.loads(file.readline())["body"])
