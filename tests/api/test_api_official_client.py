"""The official Python client, unchanged, against the door on a real socket."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn
from api_house import CHAT, LINE, House, open_house, run
from openai import AsyncOpenAI

from batchmill.api.multipart import OVERHEAD_BYTES
from batchmill.domain.batch import Event
from batchmill.domain.limits import MB, Limits


@asynccontextmanager
async def served(house: House, base: str = "/v1") -> AsyncIterator[AsyncOpenAI]:
    """A client of the house, served on a free port."""
    started = asyncio.Event()
    config = uvicorn.Config(house.app, port=0, log_config=None, lifespan="off", http="httptools")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(watch(server, started))
    await started.wait()
    port = server.servers[0].sockets[0].getsockname()[1]
    client = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}{base}", api_key="any", max_retries=0)
    try:
        async with client:
            yield client
    finally:
        server.should_exit = True
        await serving


async def watch(server: uvicorn.Server, started: asyncio.Event) -> None:
    """Serve, and tell when it is begun."""
    startup = server.startup

    async def told(*values: Any, **named: Any) -> None:
        await startup(*values, **named)
        started.set()

    server.startup = told  # type: ignore[method-assign]
    await server._serve()


@pytest.mark.parametrize("base", ["/v1", "/compatible-mode/v1"])
def test_a_batch_goes_from_upload_to_content(tmp_path: Path, base: str) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house, served(house, base) as client:
            file = await client.files.create(file=("in.jsonl", LINE), purpose="batch")
            assert (file.status, file.bytes) == ("processed", len(LINE))
            assert (await client.files.retrieve(file.id)).id == file.id
            batch = await client.batches.create(
                input_file_id=file.id,
                endpoint=CHAT,  # type: ignore[arg-type]
                completion_window="24h",
                metadata={"ds_name": "n"},
            )
            assert batch.status == "validating"
            assert batch._request_id
            assert (await client.batches.retrieve(batch.id)).id == batch.id
            assert (await client.batches.cancel(batch.id)).status == "cancelling"
            assert (await client.files.content(file.id)).content == LINE
            assert (await client.models.retrieve("Qwen/Qwen3-8B")).id == "Qwen/Qwen3-8B"
            await house.move(batch.id, Event.DELIVERED)
            assert (await client.files.delete(file.id)).deleted

    run(main())


def test_pages_follow_each_other_to_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house, served(house) as client:
            made = [(await house.create_batch())["id"] for _ in range(5)]
            listed = [batch.id async for batch in client.batches.list(limit=2)]
            assert listed == made[::-1]
            files = [(await house.upload())["id"] for _ in range(3)]
            found = [file.id async for file in client.files.list(limit=1, order="asc")]
            assert found == files
            assert len([model async for model in client.models.list()]) == 3

    run(main())


def test_errors_reach_the_client_as_its_own_kinds(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house, served(house) as client:
            with pytest.raises(openai.NotFoundError) as missing:
                await client.batches.retrieve("batch_x")
            assert missing.value.request_id
            assert missing.value.type == "invalid_request_error"
            with pytest.raises(openai.BadRequestError) as bad:
                await client.batches.create(
                    input_file_id="f",
                    endpoint="/v1/nothing",  # type: ignore[arg-type]
                    completion_window="24h",
                )
            assert (bad.value.param, bad.value.code) == ("endpoint", "invalid_value")
            batch = await house.create_batch()
            await house.move(batch["id"], Event.REJECTED)
            with pytest.raises(openai.ConflictError):
                await client.batches.cancel(batch["id"])

    run(main())


def test_a_conflict_is_not_asked_again(tmp_path: Path) -> None:
    async def main() -> None:
        served_requests: list[Any] = []
        async with (
            open_house(tmp_path, observe=served_requests.append) as house,
            served(house) as client,
        ):
            batch = await house.create_batch()
            await house.move(batch["id"], Event.REJECTED)
            served_requests.clear()
            with pytest.raises(openai.ConflictError):
                await client.with_options(max_retries=5).batches.cancel(batch["id"])
            assert len(served_requests) == 1

    run(main())


def test_a_file_that_is_too_large_is_said_to_be_so_over_a_socket(tmp_path: Path) -> None:
    # The client sends everything before it reads: the answer must survive until then.
    async def main() -> None:
        limits = Limits(max_file_bytes=MB)
        async with open_house(tmp_path, limits=limits) as house, served(house) as client:
            for size in (MB + 1, MB + OVERHEAD_BYTES + 1, 24 * MB):
                content = LINE + b"x" * (size - len(LINE))
                with pytest.raises(openai.BadRequestError, match="File is too large"):
                    await client.files.create(file=("in.jsonl", content), purpose="batch")
            assert house.stored_bytes() == []
            fine = LINE + b" " * (MB - len(LINE))
            file = await client.files.create(file=("in.jsonl", fine), purpose="batch")
            assert file.bytes == MB

    run(main())


def test_a_wrong_purpose_is_said_to_be_so_over_a_socket(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house, served(house) as client:
            content = LINE * 100_000
            with pytest.raises(openai.BadRequestError, match="fine-tune"):
                await client.files.create(file=("in.jsonl", content), purpose="fine-tune")
            file = await client.files.create(file=("in.jsonl", content), purpose="batch")
            assert (await client.files.content(file.id)).content == content

    run(main())


def test_expiry_is_taken_from_the_clients_bracketed_fields(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house, served(house) as client:
            file = await client.files.create(
                file=("in.jsonl", LINE),
                purpose="batch",
                expires_after={"anchor": "created_at", "seconds": 3600},
            )
            assert file.expires_at == file.created_at + 3600

    run(main())


def test_the_chunked_helper_uploads_in_parts(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house, served(house) as client:
            content = LINE * 500
            upload = await client.uploads.upload_file_chunked(
                file=content,
                filename="in.jsonl",
                bytes=len(content),
                mime_type="application/jsonl",
                purpose="batch",
                part_size=10_000,
            )
            assert upload.status == "completed"
            assert upload.file is not None
            assert (await client.files.content(upload.file.id)).content == content

    run(main())


def test_a_stream_without_a_name_is_taken(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house, served(house) as client:
            file = await client.files.create(file=io.BytesIO(LINE), purpose="batch")
            assert file.filename == "upload"
            answer = await client.files.with_streaming_response.content(file.id).__aenter__()
            assert await answer.read() == LINE
            await answer.close()

    run(main())
