"""Blobs as open files, where they are files of this machine."""

import asyncio
from pathlib import Path

import pytest
from blob_cases import put, with_blobs

from batchmill.blobs.local import LocalBlobs
from batchmill.ports import BlobMissing, Blobs

KEY = "files/ab/abcdef"


@with_blobs
async def test_an_open_blob_holds_what_was_written_though_it_is_deleted(blobs: Blobs) -> None:
    await put(blobs, KEY, [b"some ", b"bytes"])
    opened = await blobs.open(KEY)
    if opened is None:
        assert not isinstance(blobs, LocalBlobs)
        return
    with opened:
        await blobs.delete(KEY)
        assert opened.read() == b"some bytes"


async def assert_missing(blobs: LocalBlobs, key: str) -> None:
    with pytest.raises(BlobMissing):
        await blobs.open(key)


def test_a_blob_that_is_missing_cannot_be_opened(tmp_path: Path) -> None:
    async def main() -> None:
        blobs = LocalBlobs(tmp_path)
        await put(blobs, KEY, [b"x"])
        for key in ("files/ab/other", "files/ab"):
            await assert_missing(blobs, key)
        with pytest.raises(ValueError, match="key"):
            await blobs.open("../outside")

    asyncio.run(main())
