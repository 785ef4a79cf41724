"""The first lines of a file: how they begin, and the same turned to the test model.

Fed chunk by chunk; no more is held than what is asked for and a line.
"""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Raw

from batchmill.domain import envelope as env
from batchmill.domain.catalog import TEST_ENDPOINT, TEST_MODEL
from batchmill.domain.lines import BOM, LineCutter, RawLine


class Trial:
    """Gathers the first requests that the test model could answer."""

    def __init__(self, *, most: int, max_bytes: int) -> None:
        self.lines: list[bytes] = []
        self.is_full = False
        self._most = most
        self._left = max_bytes
        self._cutter = LineCutter(max_bytes)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        self._take(self._cutter.feed(chunk))

    def finish(self) -> None:
        """Take the last line, where nothing ends it."""
        self._take(self._cutter.finish())

    def _take(self, raws: Sequence[RawLine]) -> None:
        for raw in raws:
            line = None if self.is_full else _trial_line(raw.data or b"")
            if line is None:
                continue
            if len(line) > self._left:
                # one that is too long for the test model by itself is passed over
                self.is_full = bool(self.lines)
                continue
            self._left -= len(line)
            self.lines.append(line)
            self.is_full = len(self.lines) == self._most


class Heads:
    """Gathers how the first lines begin, however long they are."""

    def __init__(self, count: int, max_bytes: int) -> None:
        self.lines: list[bytes] = []
        self._count = count
        self._max = max_bytes
        self._held = bytearray()
        self._is_first = True

    @property
    def is_full(self) -> bool:
        """Whether there are as many as were asked for."""
        return len(self.lines) >= self._count

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        start = 0
        while not self.is_full:
            end = chunk.find(b"\n", start)
            room = self._max + len(BOM) + len(b"\r") - len(self._held)
            stop = len(chunk) if end < 0 else end
            self._held += chunk[start : min(stop, start + room)]
            if end < 0:
                return
            self.end_line()
            start = end + 1

    def end_line(self) -> None:
        """The line that is held is over."""
        line = bytes(self._held)
        if self._is_first:
            line = line.removeprefix(BOM)
        line = line.removesuffix(b"\r")[: self._max]
        if line.strip() and not self.is_full:
            self.lines.append(line.decode(errors="ignore").encode())  # no character cut in two
        self._held.clear()
        self._is_first = False


def _trial_line(data: bytes) -> bytes | None:
    """The request turned to the test model; None for what is no chat request."""
    try:
        fields = env.read_fields(data)
        body = env.read_fields(bytes(fields["body"]))
    except (*env.UNREADABLE, KeyError):
        return None
    if not env.begins(body.get("messages", UNSET), b"["):
        return None
    body["model"] = Raw(msgspec.json.encode(TEST_MODEL))
    fields["url"] = Raw(msgspec.json.encode(TEST_ENDPOINT))
    fields["body"] = Raw(msgspec.json.encode(body))
    return msgspec.json.encode(fields) + b"\n"
