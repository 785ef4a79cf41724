"""The official Python client as the tests use it: strict about answers, its requests counted."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import httpx2
from clients_server import DEADLINE, Server, wait_until
from openai import AsyncOpenAI, OpenAI
from openai.types import Batch, FileObject

ENDED = {"completed", "failed", "expired", "cancelled"}


@dataclass
class Requests:
    """The requests that a client sent: what a person sees of its retries and pages."""

    seen: list[str] = field(default_factory=list)

    def note(self, request: httpx2.Request) -> None:
        self.seen.append(f"{request.method} {request.url.path.removeprefix('/v1')}")

    async def note_async(self, request: httpx2.Request) -> None:
        self.note(request)


@contextmanager
def connect(server: Server, requests: Requests | None = None) -> Iterator[OpenAI]:
    """A client that raises on an answer that its own types do not allow."""
    hooks = {"request": [(requests or Requests()).note]}
    with (
        httpx2.Client(trust_env=False, event_hooks=hooks) as http,
        OpenAI(
            base_url=server.url,
            api_key="unused",
            http_client=http,
            timeout=DEADLINE,
            _strict_response_validation=True,
        ) as client,
    ):
        yield client


@asynccontextmanager
async def connect_async(
    server: Server, requests: Requests | None = None
) -> AsyncIterator[AsyncOpenAI]:
    """The same for asyncio."""
    hooks = {"request": [(requests or Requests()).note_async]}
    async with (
        httpx2.AsyncClient(trust_env=False, event_hooks=hooks) as http,
        AsyncOpenAI(
            base_url=server.url,
            api_key="unused",
            http_client=http,
            timeout=DEADLINE,
            _strict_response_validation=True,
        ) as client,
    ):
        yield client


def upload(client: OpenAI, content: bytes, name: str = "in.jsonl") -> FileObject:
    """Upload an input file."""
    return client.files.create(file=(name, content), purpose="batch")


def begin(client: OpenAI, content: bytes) -> Batch:
    """Upload an input file and create a batch of chat requests."""
    return client.batches.create(
        input_file_id=upload(client, content).id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
    )


def wait_for_end(client: OpenAI, batch_id: str) -> Batch:
    """The batch when nothing more will happen to it."""

    def look() -> Batch | None:
        batch = client.batches.retrieve(batch_id)
        return batch if batch.status in ENDED else None

    batch = wait_until(look, f"batch {batch_id} came to its end")
    assert batch is not None
    return batch


def run(client: OpenAI, content: bytes) -> Batch:
    """A batch that is run to its end."""
    return wait_for_end(client, begin(client, content).id)
