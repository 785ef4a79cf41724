"""Where unfinished blobs lie: one folder per process, held by a lock while it lives.

The kernel drops the lock with the process, however it dies, so a folder whose
lock can be had is left over from a crash. Ages prove nothing: another process
may be writing. Everything here blocks and belongs in a thread.
"""

import fcntl
import os
import shutil
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

_OWNER = "owner"


class Partials:
    """Hands out paths for unfinished blobs, and clears away those of dead processes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder: Path | None = None
        self._claiming = threading.Lock()

    def new_path(self) -> Path:
        """A path that nothing has used; the first call makes this process's folder."""
        with self._claiming:
            if self._folder is None:
                self._folder = self._claim()
        return self._folder / uuid4().hex

    def sweep(self) -> int:
        """Remove the folders of dead processes; how many unfinished blobs they held."""
        if not self._root.is_dir():
            return 0
        with _guarding(self._root):
            others = [f for f in self._root.iterdir() if f.is_dir() and f != self._folder]
            return sum(_clear(folder) for folder in others if _is_abandoned(folder))

    def _claim(self) -> Path:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _guarding(self._root):
            folder = self._root / uuid4().hex
            folder.mkdir(mode=0o700)
            owner = _open_lock(folder / _OWNER)
            fcntl.flock(owner, fcntl.LOCK_EX)
        weakref.finalize(self, _release, os.getpid(), owner, folder)
        return folder


@contextmanager
def _guarding(root: Path) -> Iterator[None]:
    # Between making a folder and locking it a sweep would take it for abandoned.
    guard = _open_lock(root / "guard")
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield
    finally:
        os.close(guard)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_abandoned(folder: Path) -> bool:
    try:
        owner = _open_lock(folder / _OWNER)
    except FileNotFoundError:  # its process cleared it away this moment
        return False
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(owner)
    return True


def _clear(folder: Path) -> int:
    blobs = sum(1 for path in folder.iterdir() if path.name != _OWNER)
    shutil.rmtree(folder)
    return blobs


def _release(pid: int, owner: int, folder: Path) -> None:
    if os.getpid() == pid:  # a forked child shares the lock, and must not end it
        shutil.rmtree(folder, ignore_errors=True)
        os.close(owner)
