"""A batch's folder in the local journal: a file for each attempt at a shard.

Everything here blocks and belongs in a thread. Each step lets go of the interpreter,
and getting it back from a busy event loop takes longer than the step: so what this
process has made is not looked for again.
"""

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock

# The names of so many files are held in memory; of more, the folder is asked.
NAMES_HELD = 64
_NAME = re.compile(r"\d+\.\d+\.log")


class BatchFolder:
    """The folder at ``path``, which is made with its first file.

    ``is_named`` says that its own name is durable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_named = False
        self._making = Lock()
        self._is_made = False
        # All that are in it, where this process made it and they are few.
        self._names: list[str] | None = None

    def create(self, index: int, attempt: int) -> int:
        """Make the file of an attempt at a shard, to append to; its descriptor. Raises OSError."""
        name = f"{index:06d}.{attempt:06d}.log"
        with self._making:
            if not self._is_made:
                self._names = [] if _make(self.path) else None
                self._is_made = True
            if self._names is not None:
                self._names.append(name)
                if len(self._names) > NAMES_HELD:
                    self._names = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        return os.open(self.path / name, flags, 0o600)

    def sync(self) -> None:
        """Make the names of its files durable, and its own. Raises OSError."""
        _sync(self.path)
        if not self.is_named:
            _sync(self.path.parent)
            self.is_named = True

    def files(self) -> Mapping[int, Sequence[Path]]:
        """The files by their shards, those of each by their attempts."""
        names = _names_in(self.path) if self._names is None else self._names
        return _by_shard(self.path, names)

    def remove(self) -> None:
        """Remove it with all that is in it, as far as that goes."""
        try:
            for name in self._names or ():
                os.unlink(self.path / name)  # noqa: PTH108 - as cheap as can be
            os.rmdir(self.path)  # noqa: PTH106
        except OSError:
            # Its files are not known, or somebody else was here.
            shutil.rmtree(self.path, ignore_errors=True)


def files_of_shard(folder: Path, index: int) -> Sequence[Path]:
    """The files of a shard in the folder at ``folder``, by their attempts."""
    return _by_shard(folder, _names_in(folder)).get(index, ())


def _make(path: Path) -> bool:
    """Make the folder; whether it was not there."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def _names_in(path: Path) -> Sequence[str]:
    try:
        return [file.name for file in path.iterdir() if _NAME.fullmatch(file.name)]
    except FileNotFoundError:
        return ()


def _by_shard(folder: Path, names: Iterable[str]) -> Mapping[int, Sequence[Path]]:
    found: defaultdict[int, list[Path]] = defaultdict(list)
    for name in sorted(names):
        found[int(name.partition(".")[0])].append(folder / name)
    return found


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
