"""Durable steps on a local disk: folders, renames, and what a full disk looks like.

Everything here blocks and belongs in a thread. A name is durable only once
the folder that holds it has been synced, hence the syncs of folders.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchmill.domain.errors import StorageFull

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


def make_folder(root: Path, folder: Path) -> None:
    """Make ``folder`` and what is missing between it and ``root``, durably.

    Folders that exist are synced too: another process may have made them an
    instant ago and not have come to the sync yet.
    """
    if folder != root:
        make_folder(root, folder.parent)
    folder.mkdir(mode=0o700, parents=folder == root, exist_ok=True)
    sync_folder(folder.parent)


def place(partial: Path, target: Path) -> None:
    """Give the synced file ``partial`` its name, durably; what had the name is replaced."""
    os.replace(partial, target)  # noqa: PTH105 - tests record the order of the calls on os
    sync_folder(target.parent)
