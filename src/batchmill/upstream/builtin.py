"""The built-in test model: a fixed answer at once, so that a file's way can be tried for free.

Its reply and usage are those of the service whose API this is: 20 tokens in,
6 out, a message without a role.
"""

import time
from uuid import uuid4

import msgspec

from batchmill.domain.catalog import TEST_MODEL
from batchmill.ports import Reply


class TestModel:
    """Answers every request with the same sentence; implements ``ports.CoroutineTransport``."""

    __test__ = False

    async def send(
        self,
        path: str,  # noqa: ARG002 - the port's signature
        body: bytes,  # noqa: ARG002
        idempotency_key: str,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002
    ) -> Reply:
        """The fixed answer; never a fault."""
        return Reply(200, _answer())

    async def close(self) -> None:
        """Nothing is open."""


def _answer() -> bytes:
    message = {"content": "This is a test result."}
    return msgspec.json.encode(
        {
            "created": int(time.time()),
            "usage": {"completion_tokens": 6, "prompt_tokens": 20, "total_tokens": 26},
            "model": TEST_MODEL,
            "id": f"chatcmpl-{uuid4()}",
            "choices": [{"finish_reason": "stop", "index": 0, "message": message}],
            "object": "chat.completion",
        }
    )
