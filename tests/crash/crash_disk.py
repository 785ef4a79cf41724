"""A small disk of its own below a server's data folder, to be filled to the last byte."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from crash_waiting import wait_until

SIZE = "16m"


class SmallDisk:
    """What is mounted at ``root``."""

    def __init__(self, root: Path) -> None:
        self._filler = root / "filler"

    def fill(self) -> None:
        """Leave no room at all."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (1024 * 1024, 4096, 1):
                with suppress(OSError):
                    while True:
                        file.write(b"\0" * size)

    def free(self) -> None:
        """Make room again."""
        self._filler.unlink()


@contextmanager
def mounted(root: Path) -> Iterator[SmallDisk]:
    """A small disk at ``root``; where none may be mounted the test is skipped, but not in CI."""
    root.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(root)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        if os.geteuid() == 0 and os.environ.get("CI"):
            pytest.fail(f"no disk can be mounted here: {done.stderr}")
        pytest.skip("mounting a small disk takes more rights than these")
    try:
        yield SmallDisk(root)
    finally:
        wait_until(lambda: _unmount(root), "the small disk is let go of")


def _unmount(root: Path) -> bool:
    done = subprocess.run(["umount", str(root)], capture_output=True, check=False)
    return done.returncode == 0
