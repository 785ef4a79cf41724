"""The official Python client for asyncio: many things at once."""

import asyncio
import hashlib
from pathlib import Path

import pytest
from clients_input import chat_file, contents, read_lines
from clients_python import ENDED, Requests, connect_async
from clients_server import DEADLINE, PAUSE, Server
from openai import AsyncOpenAI, ConflictError, NotFoundError
from openai.types import Batch

pytest_plugins = ["clients_fixtures"]
BATCHES = 4


async def begin(client: AsyncOpenAI, content: bytes) -> Batch:
    file = await client.files.create(file=("in.jsonl", content), purpose="batch")
    return await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )


async def run(client: AsyncOpenAI, content: bytes) -> Batch:
    batch = await begin(client, content)
    async with asyncio.timeout(DEADLINE):
        while batch.status not in ENDED:
            await asyncio.sleep(PAUSE)
            batch = await client.batches.retrieve(batch.id)
    return batch


def test_batches_that_run_side_by_side_do_not_mix(server: Server) -> None:
    async def main() -> None:
        async with connect_async(server) as client:
            sizes = range(1, BATCHES + 1)
            batches = await asyncio.gather(*(run(client, chat_file(size)) for size in sizes))
            for size, batch in zip(sizes, batches, strict=True):
                assert batch.output_file_id is not None
                answer = await client.files.content(batch.output_file_id)
                said = contents(read_lines(answer.text).values())
                assert said == [f"You said: word {at}" for at in range(size)]

    asyncio.run(main())


def test_lists_page_by_themselves(server: Server) -> None:
    async def main() -> None:
        requests = Requests()
        async with connect_async(server, requests) as client:
            made = {(await begin(client, chat_file(1))).id for _ in range(3)}
            requests.seen.clear()
            listed = [one.id async for one in client.batches.list(limit=1)]
        assert made == set(listed[:3])
        assert requests.seen == ["GET /batches"] * len(listed)

    asyncio.run(main())


def test_a_large_file_goes_up_in_parts(server: Server, tmp_path: Path) -> None:
    content = chat_file(20)
    path = tmp_path / "large.jsonl"
    path.write_bytes(content)

    async def main() -> None:
        async with connect_async(server) as client:
            done = await client.uploads.upload_file_chunked(
                file=path,
                mime_type="application/jsonl",
                purpose="batch",
                part_size=1000,
                md5=hashlib.md5(content).hexdigest(),
            )
            assert done.file is not None
            assert (await client.files.content(done.file.id)).content == content

    asyncio.run(main())


def test_parts_that_go_up_together_are_joined_in_the_order_that_is_named(server: Server) -> None:
    content = chat_file(20)
    pieces = [content[at : at + 500] for at in range(0, len(content), 500)]

    async def main() -> None:
        async with connect_async(server) as client:
            pending = await client.uploads.create(
                filename="in.jsonl",
                purpose="batch",
                bytes=len(content),
                mime_type="application/jsonl",
            )
            sent = [client.uploads.parts.create(pending.id, data=one) for one in pieces[::-1]]
            parts = await asyncio.gather(*sent)
            done = await client.uploads.complete(
                pending.id, part_ids=[one.id for one in parts[::-1]]
            )
            assert done.file is not None
            assert (await client.files.content(done.file.id)).content == content

    asyncio.run(main())


def test_errors_are_the_clients_own_exceptions(server: Server) -> None:
    async def main() -> None:
        requests = Requests()
        async with connect_async(server, requests) as client:
            batch = await run(client, chat_file(1))
            requests.seen.clear()
            with pytest.raises(ConflictError):
                await client.batches.cancel(batch.id)
            with pytest.raises(NotFoundError):
                await client.batches.retrieve("batch_unknown")
            assert len(requests.seen) == 2

    asyncio.run(main())
