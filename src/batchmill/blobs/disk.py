"""Durable steps on a local disk: folders, renames, and what a full disk looks like.

Everything here blocks and belongs in a thread. A name is durable only once
the folder that holds it has been synced, hence the syncs of folders.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from batchmill.domain.errors import StorageFull

# Not made again are those that were used lately.
_FOLDERS_HELD = 1024

# EFBIG is what a file-size limit of the process or the file system answers.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def full_disk_named(key: str) -> Iterator[None]:
    """Turn the errors of a full disk into StorageFull; let all others pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        message = f"The disk is full, '{key}' was not stored; make room in the data folder."
        raise StorageFull(message) from error


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Folders:
    """The folders under ``root``, and files that get their names there. For any thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # What is made twice at the same time is no trouble.
        self._make = lru_cache(_FOLDERS_HELD)(self._make_durably)

    def place(self, partial: Path, target: Path) -> None:
        """Give the synced file ``partial`` its name, durably; what had the name is replaced."""
        self._make(target.parent)
        try:
            _rename(partial, target)
        except FileNotFoundError:
            # Somebody has tidied up.
            self._make.cache_clear()
            self._make(target.parent)
            _rename(partial, target)
        sync_folder(target.parent)

    def _make_durably(self, folder: Path) -> None:
        """Make ``folder`` and what is missing between it and the root, durably.

        Folders that exist are synced too: another process may have made them an
        instant ago and not have come to the sync yet.
        """
        if folder != self.root:
            self._make(folder.parent)
        folder.mkdir(mode=0o700, parents=folder == self.root, exist_ok=True)
        sync_folder(folder.parent)


def _rename(partial: Path, target: Path) -> None:
    os.replace(partial, target)  # noqa: PTH105 - tests record the order of the calls on os
