"""What ``batchmill run`` keeps beside its output, so that a run can go on where it was.

The folder holds a whole data folder of the engine and a note of which input
it belongs to. It is removed once the results have been written.
"""

import hashlib
import os
import shutil
from pathlib import Path

import msgspec

from batchmill.domain.errors import ConfigError
from batchmill.wiring.parts import Paths

_BLOCK = 1024 * 1024
_NOTE = "run.json"


class Note(msgspec.Struct, frozen=True):
    """Which input a folder belongs to, and the batch that was made of it."""

    digest: str
    batch_id: str


class RunFolder:
    """The folder of one output file."""

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f"{output.name}.batchmill")

    def open(self, digest: str) -> Note | None:
        """The note of an unfinished run; without one the folder is emptied.

        Raises ConfigError where that run had another input. The caller holds
        the folder's lock.
        """
        try:
            note = msgspec.json.decode((self.path / _NOTE).read_bytes(), type=Note)
        except FileNotFoundError:
            self._empty()
            return None
        if note.digest != digest:
            raise ConfigError(
                f"{self.path} holds an unfinished run of another input: give that input again "
                "to go on with it, or remove the folder to start anew."
            )
        return note

    def _empty(self) -> None:
        """What came before the note was not begun; its batch must not run beside the next one."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != Paths(self.path).server_lock:
                path.unlink()

    def write(self, batch_id: str, digest: str) -> None:
        """Keep the note; from here on the run can be resumed."""
        note = Note(digest, batch_id)
        draft = self.path / f"{_NOTE}.draft"
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(note))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path / _NOTE)

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)


def digest_of(path: Path) -> str:
    """The SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
