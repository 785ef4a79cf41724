"""Blobs in a bucket: how they are sent, and a bucket that refuses, is slow, or is away."""

import asyncio
import random
from collections.abc import Iterator

import pytest
from blob_cases import fetch, put
from bucket_server import Place, new_place, unfinished_uploads
from rough_road import Road, everything, open_road, writes

from batchmill.blobs.remote import RemoteBlobs
from batchmill.blobs.remote_writer import PART_BYTES
from batchmill.domain.errors import StorageAway
from batchmill.ports import BlobMissing, BlobWriter

KEY = "files/ab/abcdef"
MIB = 1024 * 1024


@pytest.fixture
def road() -> Iterator[Road]:
    with open_road() as road:
        yield road


@pytest.fixture
def place(road: Road) -> Place:
    return new_place(endpoint=road.url)


def sent(road: Road) -> list[str]:
    """The writes that came by: ``PUT`` whole, ``begin``, ``part`` and ``end`` of an upload."""
    names = {
        ("POST", "uploads"): "begin",
        ("POST", "uploadId"): "end",
        ("PUT", "partNumber"): "part",
    }
    kinds = []
    for method, path in road.seen:
        query = path.partition("?")[2].partition("=")[0]
        if method in ("PUT", "POST"):
            kinds.append(names.get((method, query), method))
    return kinds


async def write_all(writer: BlobWriter, mebibytes: int) -> None:
    for _ in range(mebibytes):
        await writer.write(bytes(MIB))
    await writer.commit()


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1])
def test_a_blob_of_less_than_a_part_is_one_request(road: Road, place: Place, size: int) -> None:
    asyncio.run(put(RemoteBlobs(place.open()), KEY, [bytes(size)]))
    assert sent(road) == ["PUT"]


@pytest.mark.parametrize(
    ("size", "parts"), [(PART_BYTES, 1), (PART_BYTES + 1, 2), (3 * PART_BYTES + 5, 4)]
)
def test_a_larger_blob_goes_in_parts(road: Road, place: Place, size: int, parts: int) -> None:
    data = random.Random(size).randbytes(size)

    async def main() -> None:
        blobs = RemoteBlobs(place.open())
        await put(blobs, KEY, [data[at : at + 100_000] for at in range(0, size, 100_000)])
        assert await fetch(blobs, KEY) == data

    asyncio.run(main())
    assert sorted(sent(road)) == ["begin", "end", *["part"] * parts]


def test_an_aborted_upload_leaves_no_parts(place: Place) -> None:
    async def main() -> None:
        blobs = RemoteBlobs(place.open())
        writer = await blobs.create(KEY)
        for _ in range(20):
            await writer.write(bytes(MIB))
        await writer.abort()
        with pytest.raises(BlobMissing):
            await fetch(blobs, KEY)

    asyncio.run(main())
    assert unfinished_uploads(place) == 0


def test_a_writer_waits_for_the_bucket_and_holds_few_parts(road: Road, place: Place) -> None:
    """Otherwise an upload that is faster than the bucket would fill the memory."""
    is_part = lambda method, path: "partNumber" in path  # noqa: E731
    held = road.hold(is_part)
    taken = 0

    async def main() -> None:
        nonlocal taken
        writer = await RemoteBlobs(place.open()).create(KEY)

        async def write() -> None:
            nonlocal taken
            for _ in range(12 * 8):
                await writer.write(bytes(MIB))
                taken += 1

        writing = asyncio.create_task(write())
        await asyncio.to_thread(held.met.wait)
        before = -1
        while taken != before:  # until it gets no further
            before = taken
            for _ in range(200):
                await asyncio.to_thread(held.met.wait)
        assert not writing.done()
        assert taken * MIB <= 5 * PART_BYTES
        road.clear()
        await writing
        assert (await writer.commit()).bytes == 12 * PART_BYTES

    asyncio.run(main())


def test_a_single_refusal_is_ridden_out(road: Road, place: Place) -> None:
    async def main() -> None:
        blobs = RemoteBlobs(place.open())
        road.refuse(writes, times=1)
        await put(blobs, KEY, [bytes(MIB)])
        road.refuse(lambda method, path: method == "HEAD", times=1)
        road.refuse(lambda method, path: method == "GET", times=1)
        assert await fetch(blobs, KEY) == bytes(MIB)
        road.refuse(lambda method, path: method == "POST", times=1)
        road.refuse(writes, times=1)
        await put(blobs, KEY, [bytes(MIB)] * 20)
        assert await fetch(blobs, KEY) == bytes(20 * MIB)

    asyncio.run(main())


@pytest.mark.parametrize("size", [MIB, 20 * MIB])
def test_a_bucket_that_is_away_is_named_and_what_stood_stays(
    road: Road, place: Place, size: int
) -> None:
    async def main() -> None:
        blobs = RemoteBlobs(place.open())
        await put(blobs, KEY, [b"first"])
        road.refuse(writes)
        writer = await blobs.create(KEY)
        with pytest.raises(StorageAway) as caught:
            await write_all(writer, size // MIB)
        await writer.abort()
        assert "test-secret" not in str(caught.value)
        assert "127.0.0.1" not in str(caught.value)
        road.clear()
        assert await fetch(blobs, KEY) == b"first"

    asyncio.run(main())
    assert unfinished_uploads(place) == 0


def test_a_reader_and_a_deleter_hear_that_the_bucket_is_away(road: Road, place: Place) -> None:
    async def main() -> None:
        blobs = RemoteBlobs(place.open())
        await put(blobs, KEY, [bytes(3 * MIB)])
        for kind in ("HEAD", "GET"):
            road.refuse(lambda method, path, kind=kind: method == kind)  # type: ignore[misc]
            with pytest.raises(StorageAway):
                await fetch(blobs, KEY)
            road.clear()
        road.refuse(lambda method, path: method in ("DELETE", "POST"))
        with pytest.raises(StorageAway):
            await blobs.delete(KEY)
        road.clear()
        assert await fetch(blobs, KEY) == bytes(3 * MIB)

    asyncio.run(main())


def test_credentials_that_are_refused_later_are_no_missing_blob(road: Road, place: Place) -> None:
    """A batch whose input is out of reach for a while must not end for that."""

    async def main() -> None:
        blobs = RemoteBlobs(place.open())
        await put(blobs, KEY, [b"bytes"])
        for status in (401, 403):
            road.refuse(everything, status=status)
            with pytest.raises(StorageAway):
                await fetch(blobs, KEY)
            road.clear()

    asyncio.run(main())


def test_an_answer_that_was_lost_is_asked_for_again(road: Road, place: Place) -> None:
    async def main() -> None:
        blobs = RemoteBlobs(place.open())
        road.lose_answers(writes)
        await put(blobs, KEY, [b"bytes"])
        road.lose_answers(lambda method, path: method == "GET")
        assert await fetch(blobs, KEY) == b"bytes"

    asyncio.run(main())
