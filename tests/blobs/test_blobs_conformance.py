"""What every blob store promises, whatever lies beneath it."""

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import pytest
from blob_cases import fetch, put, with_blobs

from batchmill.domain.errors import StorageAway
from batchmill.ports import BlobMissing, Blobs

MIB = 1024 * 1024
KEY = "files/ab/abcdef"


async def assert_missing(blobs: Blobs, key: str) -> None:
    with pytest.raises(BlobMissing):
        await fetch(blobs, key)


@with_blobs
async def test_what_was_written_is_read(blobs: Blobs) -> None:
    chunks = [random.Random(n).randbytes(n) for n in (1, 65_536, 0, MIB, MIB + 1, 3 * MIB, 7)]
    whole = b"".join(chunks)
    stored = await put(blobs, KEY, chunks)
    assert (stored.key, stored.bytes) == (KEY, len(whole))
    assert stored.digest == hashlib.sha256(whole).hexdigest()
    assert await fetch(blobs, KEY) == whole


@with_blobs
async def test_many_small_writes_make_one_blob(blobs: Blobs) -> None:
    lines = [b"line %d\n" % n for n in range(5_000)]
    await put(blobs, KEY, lines)
    assert await fetch(blobs, KEY) == b"".join(lines)


@with_blobs
async def test_a_blob_may_be_empty(blobs: Blobs) -> None:
    stored = await put(blobs, KEY, [])
    assert (stored.bytes, stored.digest) == (0, hashlib.sha256(b"").hexdigest())
    assert await fetch(blobs, KEY) == b""


@with_blobs
async def test_chunks_are_of_about_a_mebibyte(blobs: Blobs) -> None:
    await put(blobs, KEY, [bytes(2 * MIB + 5)])
    assert [len(chunk) async for chunk in blobs.read(KEY)] == [MIB, MIB, 5]


@with_blobs
async def test_nothing_stands_under_the_key_before_commit(blobs: Blobs) -> None:
    writer = await blobs.create(KEY)
    await writer.write(bytes(3 * MIB))
    await assert_missing(blobs, KEY)
    await writer.commit()
    assert await fetch(blobs, KEY) == bytes(3 * MIB)


@with_blobs
async def test_an_aborted_blob_never_appears(blobs: Blobs) -> None:
    for size in (0, 10, 3 * MIB):
        writer = await blobs.create(KEY)
        await writer.write(bytes(size))
        await writer.abort()
        await assert_missing(blobs, KEY)


@with_blobs
async def test_abort_after_commit_harms_nothing(blobs: Blobs) -> None:
    writer = await blobs.create(KEY)
    await writer.write(b"kept")
    await writer.commit()
    await writer.abort()
    assert await fetch(blobs, KEY) == b"kept"


@with_blobs
async def test_commit_replaces_and_abort_does_not(blobs: Blobs) -> None:
    await put(blobs, KEY, [b"first"])
    writer = await blobs.create(KEY)
    await writer.write(b"never")
    await writer.abort()
    assert await fetch(blobs, KEY) == b"first"
    await put(blobs, KEY, [b"second"])
    assert await fetch(blobs, KEY) == b"second"


@with_blobs
async def test_the_last_commit_to_a_key_wins_whole(blobs: Blobs) -> None:
    one, two = await blobs.create(KEY), await blobs.create(KEY)
    for _ in range(3):
        await one.write(b"1" * MIB)
        await two.write(b"2" * MIB)
    await two.commit()
    await one.commit()
    assert await fetch(blobs, KEY) == b"1" * (3 * MIB)


@with_blobs
async def test_ranges_are_half_open_and_end_with_the_blob(blobs: Blobs) -> None:
    whole = random.Random(0).randbytes(2 * MIB + 17)
    size = len(whole)
    await put(blobs, KEY, [whole])
    marks = (0, 1, MIB, MIB + 1, size - 1, size, size + 1)
    for start in marks:
        assert await fetch(blobs, KEY, start) == whole[start:]
        for end in marks:
            assert await fetch(blobs, KEY, start, end) == whole[start:end], (start, end)


@with_blobs
async def test_a_negative_range_is_refused(blobs: Blobs) -> None:
    await put(blobs, KEY, [b"bytes"])
    for start, end in ((-1, None), (0, -1)):
        with pytest.raises(ValueError, match="range"):
            await fetch(blobs, KEY, start, end)


@with_blobs
async def test_an_empty_range_of_a_missing_blob_is_missing(blobs: Blobs) -> None:
    with pytest.raises(BlobMissing):
        await fetch(blobs, KEY, 0, 0)


@with_blobs
async def test_a_key_that_only_leads_to_others_has_no_bytes(blobs: Blobs) -> None:
    await put(blobs, KEY, [b"bytes"])
    for key in ("files", "files/ab", f"{KEY}/more"):
        await assert_missing(blobs, key)
        await blobs.delete(key)
    assert await fetch(blobs, KEY) == b"bytes"


@with_blobs
async def test_delete_removes_and_may_be_repeated(blobs: Blobs) -> None:
    await put(blobs, KEY, [b"bytes"])
    await put(blobs, "files/ab/other", [b"other"])
    for _ in range(2):
        await blobs.delete(KEY)
        await assert_missing(blobs, KEY)
    assert await fetch(blobs, "files/ab/other") == b"other"


@with_blobs
async def test_a_reader_never_mixes_the_blob_it_began_with_another(blobs: Blobs) -> None:
    """It reads on as it began, or hears that those bytes are gone."""
    await put(blobs, KEY, [b"1" * (8 * MIB)])
    async with aclosing(cast("AsyncGenerator[bytes, None]", blobs.read(KEY))) as reading:
        got = await anext(reading)
        await put(blobs, KEY, [b"2" * (8 * MIB)])
        is_told = False
        try:
            got += b"".join([chunk async for chunk in reading])
        except (StorageAway, BlobMissing):
            is_told = True
    assert is_told or len(got) == 8 * MIB
    assert set(got) == {ord("1")}


@with_blobs
async def test_many_read_at_once(blobs: Blobs) -> None:
    whole = random.Random(1).randbytes(3 * MIB + 3)
    await put(blobs, KEY, [whole])
    ranges = [(n * 100_000, n * 100_000 + 500_000) for n in range(24)]
    read = await asyncio.gather(*(fetch(blobs, KEY, start, end) for start, end in ranges))
    assert read == [whole[start:end] for start, end in ranges]


@with_blobs
async def test_a_reader_may_leave_early(blobs: Blobs) -> None:
    await put(blobs, KEY, [bytes(3 * MIB)])
    for _ in range(50):
        async for _chunk in blobs.read(KEY):
            break
    assert len(await fetch(blobs, KEY)) == 3 * MIB


@with_blobs
async def test_a_key_cannot_leave_its_root(blobs: Blobs) -> None:
    outside = ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", ".partial/x", "a/.hidden"]
    malformed = ["a\\b", "a\0b", "a b", "ä", "a\n", "x" * 201, "/".join("a" * 17)]
    for key in outside + malformed:
        with pytest.raises(ValueError, match="blob key"):
            await blobs.create(key)
        with pytest.raises(ValueError, match="blob key"):
            await fetch(blobs, key)
        with pytest.raises(ValueError, match="blob key"):
            await blobs.delete(key)


@with_blobs
async def test_keys_at_their_limits_are_taken(blobs: Blobs) -> None:
    for key in ("x" * 200, "/".join("a" * 16), "A-b_c.9/0", "uploads/part_00.jsonl"):
        await put(blobs, key, [key.encode()])
        assert await fetch(blobs, key) == key.encode()
