"""Signs of life: what the engine's process leaves in files for the API's to read.

Both files are replaced whole, once a second. They hold figures only; nothing
that is decided rests on them.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from batchmill.ports import Progress

# The engine renews its signs every second; a few may be late on a busy machine.
_STALE_SECONDS = 10.0

_decode = msgspec.json.Decoder(dict[str, Progress]).decode


def write_progress(progress: Mapping[str, Progress], path: Path) -> None:
    """Replace the file at ``path``; a reader sees the old or the new."""
    draft = path.with_name(f"{path.name}.draft")
    draft.write_bytes(msgspec.json.encode(progress))
    draft.replace(path)


def is_alive(path: Path, now: float) -> bool:
    """Whether the engine has renewed the file at ``path`` lately."""
    try:
        return now - path.stat().st_mtime < _STALE_SECONDS
    except FileNotFoundError:
        return False


class ProgressFile:
    """The engine's last word on its batches, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at = 0
        self._progress: Mapping[str, Progress] = {}

    def of(self, batch_id: str) -> Progress | None:
        """How a batch is getting on; None where the engine has not said."""
        try:
            changed_at = self._path.stat().st_mtime_ns
            if changed_at != self._read_at:
                self._progress = _decode(self._path.read_bytes())
                self._read_at = changed_at
        except FileNotFoundError:
            return None
        return self._progress.get(batch_id)
