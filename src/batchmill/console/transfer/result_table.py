"""A result file as a table: rows stream as the file is read, a portion at a time."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from itertools import islice

from batchmill.domain.convert import results_to_rows, rows_to_csv
from batchmill.domain.limits import MB
from batchmill.service.streams import split_lines

_PORTION_BYTES = MB


async def stream_table(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The CSV of output or error lines; raises InvalidRequest for lines that are neither."""
    table = _Table()
    yield table.head()
    portion: list[bytes] = []
    size = 0
    async with aclosing(split_lines(chunks)) as lines:
        async for line in lines:
            portion.append(line)
            size += len(line)
            if size >= _PORTION_BYTES:
                yield await asyncio.to_thread(table.rows, portion)
                portion, size = [], 0
    if portion:
        yield await asyncio.to_thread(table.rows, portion)


class _Table:
    """The converter, fed as lines come: it is asked for no more rows than it has lines."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._pieces = rows_to_csv(results_to_rows(self._waiting()))

    def _waiting(self) -> Iterator[bytes]:
        while self._lines:
            yield self._lines.popleft()

    def head(self) -> bytes:
        """The mark of the encoding, and the names of the columns."""
        return "".join(islice(self._pieces, 2)).encode()

    def rows(self, lines: list[bytes]) -> bytes:
        """A row for each line that is not blank."""
        filled = [line for line in lines if line and not line.isspace()]
        self._lines.extend(filled)
        return "".join(islice(self._pieces, len(filled))).encode()
