"""The local store against power cuts and kills: the order of syncs, and what a crash leaves."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from blob_cases import bytes_under, fetch, put

from batchmill.blobs import LocalBlobs, partials, writer

KEY = "files/ab/abcdef"
MIB = 1024 * 1024

WRITE_AND_WAIT = """
import asyncio, sys
from pathlib import Path
from batchmill.blobs import LocalBlobs

async def main():
    blobs = LocalBlobs(Path(sys.argv[1]))
    writer = await blobs.create(sys.argv[2])
    for _ in range(4):
        await writer.write(bytes(1024 * 1024))
    print("written", flush=True)
    if sys.stdin.readline():
        await writer.commit()
        print("committed", flush=True)

asyncio.run(main())
"""


@contextmanager
def writing_process(root: Path, key: str) -> Iterator[subprocess.Popen[str]]:
    """A process with an unfinished blob under ``root``; it commits when it is sent a line."""
    command = [sys.executable, "-c", WRITE_AND_WAIT, str(root), key]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "written\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """The syncs and renames in their order, each with the path it was made on."""
    recorded: list[tuple[str, Path]] = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(fd: int) -> None:
        recorded.append(("sync", Path(f"/proc/self/fd/{fd}").readlink()))
        real_sync(fd)

    def replace(source: Any, target: Any) -> None:
        recorded.append(("rename", Path(target)))
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(writer, "fsync", sync)
    return recorded


def test_bytes_and_folders_are_synced_before_the_rename_and_the_name_after(
    tmp_path: Path, calls: list[tuple[str, Path]]
) -> None:
    """A power cut at any instant leaves the whole blob or none."""
    root = tmp_path / "blobs"
    asyncio.run(put(LocalBlobs(root), KEY, [bytes(3 * MIB)]))
    (bytes_call, bytes_path), *folders, rename, last = calls
    assert bytes_call == "sync"
    assert bytes_path.is_relative_to(root / ".partial")
    assert folders == [("sync", tmp_path), ("sync", root), ("sync", root / "files")]
    assert rename == ("rename", root / KEY)
    assert last == ("sync", root / "files" / "ab")


def test_folders_that_are_durable_are_not_synced_again(
    tmp_path: Path, calls: list[tuple[str, Path]]
) -> None:
    """The bytes and the name of another blob beside the first one are all there is to sync."""
    root = tmp_path / "blobs"

    async def main() -> None:
        blobs = LocalBlobs(root)
        await put(blobs, KEY, [b"one"])
        calls.clear()
        await put(blobs, f"{KEY}-2", [b"two"])

    asyncio.run(main())
    assert [name for name, _ in calls] == ["sync", "rename", "sync"]
    assert calls[1:] == [("rename", root / f"{KEY}-2"), ("sync", root / "files" / "ab")]


def test_folders_that_somebody_removed_are_made_again(tmp_path: Path) -> None:
    async def main() -> None:
        blobs = LocalBlobs(tmp_path)
        await put(blobs, KEY, [b"one"])
        shutil.rmtree(tmp_path / "files")
        await put(blobs, KEY, [b"two"])
        assert await fetch(blobs, KEY) == b"two"

    asyncio.run(main())


def test_a_commit_that_is_cancelled_before_the_name_is_given_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    real = os.fsync

    def slow_sync(fd: int) -> None:
        begun.set()
        go_on.wait()
        real(fd)

    monkeypatch.setattr(writer, "fsync", slow_sync)

    async def main() -> None:
        blob = await LocalBlobs(tmp_path).create(KEY)
        await blob.write(b"bytes")
        committing = asyncio.create_task(blob.commit())
        await asyncio.to_thread(begun.wait)
        committing.cancel()
        await asyncio.gather(committing, return_exceptions=True)
        aborting = asyncio.create_task(blob.abort())
        await asyncio.to_thread(begun.wait)  # a turn in which the abort begins
        go_on.set()
        await aborting
        assert bytes_under(tmp_path) == []

    asyncio.run(main())


def test_the_disk_begins_with_whole_pages_long_before_the_sync(
    tmp_path: Path, calls: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told to the kernel tiles the file, and is nothing that the sync is spared."""
    told: list[tuple[int, int, int]] = []

    def advise(_fd: int, start: int, size: int, advice: int) -> None:
        told.append((start, size, len(calls)))
        assert advice == os.POSIX_FADV_DONTNEED

    monkeypatch.setattr(os, "posix_fadvise", advise)
    piece = bytes(MIB + 5)
    asyncio.run(put(LocalBlobs(tmp_path), KEY, [piece, piece, b"end"]))
    assert told == [(0, MIB, 0), (MIB, MIB, 0)]
    assert [call for call, _ in calls].count("sync") > 0


def test_a_blob_is_not_named_where_its_bytes_could_not_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing disk ends in its own error, with nothing left behind."""

    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(writer, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        asyncio.run(put(LocalBlobs(tmp_path), KEY, [b"bytes"]))
    assert bytes_under(tmp_path) == []


def test_a_kill_in_the_middle_of_a_write_leaves_no_blob(tmp_path: Path) -> None:
    """What it leaves is found and removed, once."""
    with writing_process(tmp_path, KEY) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(bytes_under(tmp_path)) == 1

    async def after() -> None:
        blobs = LocalBlobs(tmp_path)
        assert await blobs.sweep_partials() == 1
        assert bytes_under(tmp_path) == []
        assert await blobs.sweep_partials() == 0

    asyncio.run(after())


def test_a_sweep_spares_what_living_processes_write(tmp_path: Path) -> None:
    """Another process's blob, and this one's own, come to be whole after a sweep."""

    async def main(process: subprocess.Popen[str]) -> None:
        one, two = LocalBlobs(tmp_path), LocalBlobs(tmp_path)
        mine = await one.create("files/mine")
        await mine.write(b"m" * MIB)
        await asyncio.gather(one.sweep_partials(), two.sweep_partials())
        process.communicate("commit\n")
        await mine.commit()
        assert await fetch(two, "files/mine") == b"m" * MIB
        assert await fetch(one, "files/theirs") == bytes(4 * MIB)

    with writing_process(tmp_path, "files/theirs") as process:
        asyncio.run(main(process))


def test_a_reader_keeps_what_it_began_to_read(tmp_path: Path) -> None:
    """A blob that is replaced and deleted meanwhile is read on as it was."""

    async def main() -> None:
        blobs = LocalBlobs(tmp_path)
        await put(blobs, KEY, [b"1" * (4 * MIB)])
        async with aclosing(cast("AsyncGenerator[bytes, None]", blobs.read(KEY))) as reading:
            got = await anext(reading)
            await put(blobs, KEY, [b"2" * (4 * MIB)])
            await blobs.delete(KEY)
            got += b"".join([chunk async for chunk in reading])
        assert got == b"1" * (4 * MIB)

    asyncio.run(main())


def test_a_sweep_without_a_folder_makes_none(tmp_path: Path) -> None:
    """A start on an empty disk writes nothing."""
    root = tmp_path / "blobs"
    assert asyncio.run(LocalBlobs(root).sweep_partials()) == 0
    assert not root.exists()


def test_a_folder_without_a_lock_is_cleared(tmp_path: Path) -> None:
    """A crash between making the folder and locking it leaves such a folder."""
    (tmp_path / "half-made").mkdir()
    (tmp_path / "half-made" / "bytes").touch()
    assert partials.Partials(tmp_path).sweep() == 1
    assert not (tmp_path / "half-made").exists()


def test_a_process_that_ends_takes_its_folder_along(tmp_path: Path) -> None:
    """Ordinary restarts leave nothing for the sweep."""
    with writing_process(tmp_path, KEY) as process:
        process.communicate("commit\n")
    assert bytes_under(tmp_path) == [tmp_path / KEY]
    assert [p.name for p in (tmp_path / ".partial").iterdir()] == ["guard"]


def test_abort_waits_for_the_thread_of_a_cancelled_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the thread would make the file anew behind the abort."""
    begun, go_on = threading.Event(), threading.Event()
    steps: list[str] = []
    append, discard = writer.PartialFile.append, writer.PartialFile.discard

    def slow_append(file: writer.PartialFile, group: Sequence[bytes]) -> None:
        begun.set()
        go_on.wait()
        append(file, group)
        steps.append("append")

    def told_discard(file: writer.PartialFile) -> None:
        steps.append("discard")
        discard(file)

    monkeypatch.setattr(writer.PartialFile, "append", slow_append)
    monkeypatch.setattr(writer.PartialFile, "discard", told_discard)

    async def main() -> None:
        blob = await LocalBlobs(tmp_path).create(KEY)
        await blob.write(bytes(MIB))
        waiting = asyncio.create_task(blob.write(bytes(MIB)))
        await asyncio.to_thread(begun.wait)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        aborting = asyncio.create_task(blob.abort())
        for _ in range(10):  # turns in which an abort that did not wait would discard
            await asyncio.to_thread(begun.wait)
        go_on.set()
        await aborting
        assert waiting.cancelled()
        assert steps == ["append", "discard"]
        assert bytes_under(tmp_path) == []

    asyncio.run(main())
