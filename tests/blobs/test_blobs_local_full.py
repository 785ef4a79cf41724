"""The local store on a full disk: StorageFull, and nothing left behind."""

import asyncio
import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from blob_cases import bytes_under, fetch, put

from batchmill.blobs import LocalBlobs, disk, writer
from batchmill.domain.errors import StorageFull

KEY = "files/ab/abcdef"
MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; only root can mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def file_size_limit() -> Iterator[int]:
    """No file of this process may grow beyond 2 MiB meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, before[1]))
    yield 2 * MIB
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_named_and_emptied(small_disk: Path) -> None:
    """The partial blob goes at once, so that what fits can be stored without an abort."""

    async def main() -> None:
        blobs = LocalBlobs(small_disk)
        with pytest.raises(StorageFull, match=r"files/ab/abcdef.*make room"):
            await put(blobs, KEY, [bytes(MIB)] * 6)
        assert bytes_under(small_disk) == []
        await put(blobs, KEY, [bytes(MIB)] * 3)
        assert len(await fetch(blobs, KEY)) == 3 * MIB

    asyncio.run(main())


def test_the_blob_that_stood_survives_a_full_disk(small_disk: Path) -> None:
    """A replacement that does not fit replaces nothing."""

    async def main() -> None:
        blobs = LocalBlobs(small_disk)
        await put(blobs, KEY, [b"1" * (2 * MIB)])
        with pytest.raises(StorageFull):
            await put(blobs, KEY, [b"2" * (3 * MIB)])
        assert await fetch(blobs, KEY) == b"1" * (2 * MIB)

    asyncio.run(main())


def test_a_file_size_limit_is_met_from_both_sides(tmp_path: Path, file_size_limit: int) -> None:
    """One byte too many is a full disk, the last byte is not."""

    async def main() -> None:
        blobs = LocalBlobs(tmp_path)
        await put(blobs, KEY, [bytes(file_size_limit)])
        with pytest.raises(StorageFull):
            await put(blobs, "files/larger", [bytes(file_size_limit + 1)])
        assert bytes_under(tmp_path) == [tmp_path / KEY]

    asyncio.run(main())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", ["open", "write", "fsync", "mkdir", "rename"])
def test_every_step_may_find_the_disk_full(
    step: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commit says StorageFull, abort is still harmless, and nothing is left."""

    def full(*_args: Any, **_named: Any) -> None:
        raise OSError(code, os.strerror(code))

    class FullFile(FileIO):
        def write(self, _data: Any) -> int:
            raise OSError(code, os.strerror(code))

    async def main() -> None:
        blob = await LocalBlobs(tmp_path).create(KEY)
        await blob.write(b"bytes")
        with pytest.raises(StorageFull):
            await blob.commit()
        assert bytes_under(tmp_path) == []
        await blob.abort()

    patches: dict[str, tuple[Any, str, Any]] = {
        "open": (writer, "FileIO", full),
        "write": (writer, "FileIO", FullFile),
        "fsync": (writer, "fsync", full),
        "mkdir": (disk.Folders, "_make_durably", full),
        "rename": (os, "replace", full),
    }
    monkeypatch.setattr(*patches[step])
    asyncio.run(main())


def test_after_a_full_disk_a_writer_goes_on_refusing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that misses the first error cannot commit a blob with a hole."""

    def full(*_args: Any, **_named: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def main() -> None:
        blob = await LocalBlobs(tmp_path).create(KEY)
        with monkeypatch.context() as patched:
            patched.setattr(writer, "FileIO", full)
            await blob.write(bytes(MIB))
            with pytest.raises(StorageFull):
                await blob.write(bytes(MIB))
        with pytest.raises(StorageFull):
            await blob.write(bytes(MIB))
        with pytest.raises(StorageFull):
            await blob.commit()
        assert bytes_under(tmp_path) == []

    asyncio.run(main())
