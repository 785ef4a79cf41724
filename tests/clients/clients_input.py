"""Input files for client tests, and what is read out of result files."""

import json
from collections.abc import Iterable
from typing import Any

from clients_server import MODEL

CHAT = "/v1/chat/completions"


def line(custom_id: str, body: dict[str, Any], url: str = CHAT) -> bytes:
    """One request."""
    request = {"custom_id": custom_id, "method": "POST", "url": url, "body": body}
    return json.dumps(request).encode() + b"\n"


def chat(said: str, **more: Any) -> dict[str, Any]:
    """The body of a chat request; a scripted upstream repeats what is said."""
    return {"model": MODEL, "messages": [{"role": "user", "content": said}], **more}


def chat_file(count: int, model: str = MODEL) -> bytes:
    """So many good requests, ``r0`` and on, which say ``word 0`` and on."""
    return b"".join(line(f"r{at}", chat(f"word {at}", model=model)) for at in range(count))


def refused(custom_id: str) -> bytes:
    """A request that passes every check here and that the upstream answers with 400."""
    return line(custom_id, chat("never", dimensions="many"))


def read_lines(content: bytes | str) -> dict[str, Any]:
    """The lines of a result file by their custom_id, each of which comes once."""
    lines = [json.loads(one) for one in content.splitlines()]
    by_id = {one["custom_id"]: one for one in lines}
    assert len(by_id) == len(lines)
    return by_id


def contents(lines: Iterable[Any]) -> list[str]:
    """What the model said in each of some output lines."""
    return [one["response"]["body"]["choices"][0]["message"]["content"] for one in lines]
