"""Requests made of prompts and tables made of results, while their bytes come.

What is made of what is decided by ``domain.convert``; here stands how much of
it is held: a line, or, of media with their questions, all that may be sent.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from batchmill.domain import convert
from batchmill.domain.catalog import TEST_ENDPOINT, TEST_MODEL
from batchmill.domain.errors import InvalidRequest
from batchmill.domain.limits import MB, Limits
from batchmill.service.converting import Converting
from batchmill.service.refusals import too_large

MEDIA_BYTES: Final = 32 * MB
RESULT_BYTES: Final = 64 * MB

_MOST_AT_ONCE: Final = 16

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Part:
    """A file among those that are sent as one, end to end; ``size`` in bytes."""

    name: str
    size: int


class Tally:
    """Counts what passes; its ``count`` is whole when all has passed."""

    def __init__(self) -> None:
        self.count = 0

    def of(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items, counted."""
        for item in items:
            self.count += 1
            yield item


class Conversions:
    """The use-cases of the generator and of the table of results."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._converting = Converting(_MOST_AT_ONCE)

    def text_requests(
        self, chunks: AsyncIterator[bytes], rules: convert.GenerateRules
    ) -> AsyncGenerator[bytes]:
        """A chat request for each line of text, in blocks; raises InvalidRequest."""
        own = _own_endpoint(rules)
        return self._converting.convert(
            chunks,
            lambda stream: self._bounded(convert.generate_text(self._texts(stream), own)),
        )

    def embedding_requests(self, chunks: AsyncIterator[bytes], model: str) -> AsyncGenerator[bytes]:
        """An embedding request for each line of text, in blocks; raises InvalidRequest."""
        return self._converting.convert(
            chunks,
            lambda stream: self._bounded(convert.generate_embeddings(self._texts(stream), model)),
        )

    def media_requests(
        self, chunks: AsyncIterator[bytes], media_bytes: int, rules: convert.GenerateRules
    ) -> AsyncGenerator[bytes]:
        """A chat request for each line of media URLs; the questions follow behind ``media_bytes``.

        Raises InvalidRequest, and TooLarge beyond MEDIA_BYTES.
        """
        own = _own_endpoint(rules)

        def make(stream: Iterator[bytes]) -> Iterator[bytes]:
            source = _Source(_at_most(stream, MEDIA_BYTES))
            media = list(self._texts(source.take(media_bytes)))
            questions = list(self._texts(source.take(MEDIA_BYTES)))
            return self._bounded(convert.generate_media(media, questions, own))

        return self._converting.convert(chunks, make)

    def results_table(
        self, chunks: AsyncIterator[bytes], parts: Sequence[Part], tally: Tally, *, bom: bool
    ) -> AsyncGenerator[bytes]:
        """A CSV of output and error files, in blocks; raises InvalidRequest.

        ``parts`` are the files in their order, ``tally`` counts the rows.
        """

        def make(stream: Iterator[bytes]) -> Iterator[bytes]:
            source = _Source(stream)
            rows = (row for part in parts for row in _result_rows(source, part))
            for piece in convert.rows_to_csv(tally.of(rows), bom=bom):
                yield piece.encode()

        return self._converting.convert(chunks, make)

    def _texts(self, stream: Iterator[bytes]) -> Iterator[str]:
        """The lines of a text; a lone CR ends one too, and blank lines count for nothing."""
        even = (chunk.replace(b"\r", b"\n") for chunk in stream)
        for number, line in enumerate(read_lines(even, self._limits.max_line_bytes), start=1):
            try:
                yield line.decode()
            except UnicodeDecodeError:
                message = f"The text is not UTF-8 in line {number}. Save it as UTF-8."
                raise InvalidRequest(message) from None

    def _bounded(self, requests: Iterator[bytes]) -> Iterator[bytes]:
        most = self._limits.max_lines
        for made, request in enumerate(requests, start=1):
            if made > most:
                raise InvalidRequest(
                    f"These are more than {most} requests, the most that a batch may have. "
                    "Split them into several files."
                )
            yield request


def read_lines(chunks: Iterable[bytes], most: int) -> Iterator[bytes]:
    """The lines of a stream with their ends; raises InvalidRequest for one above ``most`` bytes."""
    parts: list[bytes] = []
    held, number = 0, 1
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            _require_short(held + len(piece), most, number)
            yield b"".join((*parts, piece, b"\n"))
            parts.clear()
            held, number = 0, number + 1
        parts.append(rest)
        held += len(rest)
        _require_short(held, most, number)
    if held:
        yield b"".join(parts)


def _require_short(size: int, most: int, number: int) -> None:
    if size > most:
        shown = f"{most // MB} MB" if most % MB == 0 else f"{most} bytes"
        raise InvalidRequest(f"Line {number} is longer than {shown}.")


def _own_endpoint(rules: convert.GenerateRules) -> convert.GenerateRules:
    """The rules, sent to where the test model alone answers if they name it."""
    return replace(rules, endpoint=TEST_ENDPOINT) if rules.model == TEST_MODEL else rules


def _result_rows(source: "_Source", part: Part) -> Iterator[tuple[str, ...]]:
    try:
        yield from convert.results_to_rows(read_lines(source.take(part.size), RESULT_BYTES))
    except InvalidRequest as error:
        raise InvalidRequest(f"{part.name}: {error.message}") from None


def _at_most(chunks: Iterator[bytes], most: int) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise too_large(most)
        yield chunk


class _Source:
    """A stream that is read part by part."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def take(self, size: int) -> Iterator[bytes]:
        """The next ``size`` bytes, fewer where the stream ends before."""
        while size > 0:
            chunk = self._rest or next(self._chunks, b"")
            if not chunk:
                return
            piece, self._rest = chunk[:size], chunk[size:]
            size -= len(piece)
            yield piece
