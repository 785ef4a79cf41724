"""Tables taken in as input files: CSV bytes in, requests out, while they come.

What a table may hold is decided by ``domain.convert``; here stands how much of
it: no more than a row, and the ids of as many rows as a batch may have, are held.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import replace
from io import BufferedReader, RawIOBase, TextIOWrapper
from typing import Final

from batchmill.domain.catalog import TEST_ENDPOINT, TEST_MODEL
from batchmill.domain.convert import CsvRules, csv_to_requests
from batchmill.domain.errors import InvalidRequest
from batchmill.domain.limits import MB, Limits
from batchmill.service.converting import Converting

_BUFFER_BYTES: Final = 64 * 1024
_EMPTY: Final = ",;|\t\r\n \ufeff"
# A character of an id takes at most so many bytes where it stands in a request.
_BYTES_A_CHAR: Final = 6
_ID_BEGINS, _ID_ENDS = b'{"custom_id":"', b'","method":'


class Tables:
    """The use-case of tables."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._converting = Converting()

    def requests(self, chunks: AsyncIterator[bytes], rules: CsvRules) -> AsyncGenerator[bytes]:
        """The lines of an input file, in blocks; raises InvalidRequest that names the row.

        Requests to the test model go to its own endpoint, whatever ``rules`` say.
        """
        own = replace(rules, endpoint=TEST_ENDPOINT) if rules.model == TEST_MODEL else rules
        return self._converting.convert(
            chunks, lambda stream: bounded_requests(stream, own, self._limits)
        )


def bounded_requests(chunks: Iterator[bytes], rules: CsvRules, limits: Limits) -> Iterator[bytes]:
    """The requests of a table, as long as what must be held for them stays small."""
    text = _Text(chunks, limits.max_line_bytes)
    for made, line in enumerate(csv_to_requests(text.lines(), rules), start=1):
        if made > limits.max_lines:
            raise InvalidRequest(
                f"The table has more than {limits.max_lines} rows, the most that a batch may have. "
                "Split it into several tables."
            )
        _check_id(line, made, limits)
        text.release()
        yield line


def _check_id(line: bytes, number: int, limits: Limits) -> None:
    """Refuse an id that no batch accepts before another million of them is remembered."""
    most = len(_ID_BEGINS) + _BYTES_A_CHAR * limits.max_custom_id_chars + len(_ID_ENDS)
    if line.find(_ID_ENDS, 0, most) < 0:
        raise InvalidRequest(
            f"The id of request {number} is longer than {limits.max_custom_id_chars} characters. "
            "Name the column that holds the ids, or have the rows numbered."
        )


class _Text:
    """The text of a stream, in lines with their ends, no more than ``most`` held at a time."""

    def __init__(self, chunks: Iterator[bytes], most: int) -> None:
        raw = BufferedReader(_Raw(chunks), _BUFFER_BYTES)
        self._text = TextIOWrapper(raw, encoding="utf-8", newline="")
        self._most = most
        self._held = 0
        self._number = 0

    def lines(self) -> Iterator[str]:
        """Line by line; raises InvalidRequest for what is no text, and for a row without end."""
        while line := self._next():
            self._number += 1
            # rows of nothing make no request, and there may be any number of them
            if self._held or line.strip(_EMPTY):
                self._held += len(line)
            if self._held > self._most:
                raise self._too_long()
            yield line

    def release(self) -> None:
        """What was read so far has become a request."""
        self._held = 0

    def _next(self) -> str:
        try:
            return self._text.readline(self._most + 1)
        except UnicodeDecodeError:
            raise InvalidRequest(
                f"The table is not UTF-8 near line {self._number + 1}. Save it as CSV in UTF-8."
            ) from None

    def _too_long(self) -> InvalidRequest:
        shown = f"{self._most // MB} MB" if self._most % MB == 0 else f"{self._most} bytes"
        return InvalidRequest(
            f"The row that ends at line {self._number} or behind it is longer than {shown}, the "
            "most that a request may have. Is a quote missing?"
        )


class _Raw(RawIOBase):
    """Chunks as a file that is read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        taken = min(len(buffer), len(self._rest))
        buffer[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken
