"""What is uploaded: an input file as it is, or one made from a table while it is sent.

Bytes come in pieces and are never gathered. Reading may begin before the
upload does, to learn the endpoint from the first line; nothing is lost by it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Final

from batchmill.cli.streams import STDIO, open_binary, open_text
from batchmill.domain.convert import CsvRules, csv_to_requests
from batchmill.domain.limits import MB
from batchmill.domain.lines import LineCutter, read_url

CHUNK_BYTES: Final = 256 * 1024
_LONGEST_FIRST_LINE: Final = 16 * MB


@dataclass(frozen=True, slots=True)
class Source:
    """An input file: its name for the server, its bytes, and their count where it is known."""

    filename: str
    pieces: Iterator[bytes]
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart body in blocks, and the headers that go with it."""

    headers: Mapping[str, str]
    blocks: Iterator[bytes]


def as_form(source: Source, on_read: Callable[[int], None]) -> Form:
    """The upload of a source; ``on_read`` hears the size of each block that is taken from it."""
    mark = token_hex(16)
    head = (
        f'--{mark}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{source.filename}"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    ).encode()
    tail = f"\r\n--{mark}--\r\n".encode()
    headers = {"content-type": f"multipart/form-data; boundary={mark}"}
    if source.size is not None:
        headers["content-length"] = str(len(head) + source.size + len(tail))
    return Form(headers, chain((head,), _noted(_blocks(source.pieces), on_read), (tail,)))


def _blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces gathered until they are worth a write."""
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= CHUNK_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def _noted(blocks: Iterable[bytes], on_read: Callable[[int], None]) -> Iterator[bytes]:
    for block in blocks:
        yield block
        on_read(len(block))


@contextmanager
def open_jsonl(name: str) -> Iterator[Source]:
    """An input file as it is, ``-`` is stdin."""
    with open_binary(name) as stream:
        size = None
        if name != STDIO and Path(name).is_file():
            size = os.fstat(stream.fileno()).st_size
        yield Source(_label(name), _chunks(stream), size)


@contextmanager
def open_table(name: str, rules: CsvRules) -> Iterator[Source]:
    """A table, turned into requests while it is read."""
    with open_text(name) as text:
        yield Source(f"{Path(_label(name)).stem}.jsonl", csv_to_requests(text, rules))


def peek_url(source: Source) -> tuple[str | None, Source]:
    """The url that the first request names, and the source as it was before."""
    kept: list[bytes] = []

    def noted() -> Iterator[bytes]:
        for piece in source.pieces:
            kept.append(piece)
            yield piece

    url = first_url(noted())
    whole = chain(kept, source.pieces)
    return url, Source(source.filename, whole, source.size)


def first_url(pieces: Iterable[bytes]) -> str | None:
    """The url that the first line which is not blank names; reads no further than that line."""
    cutter = LineCutter(_LONGEST_FIRST_LINE)
    seen = 0
    for piece in pieces:
        seen += len(piece)
        if lines := cutter.feed(piece):
            return read_url(lines[0].data or b"")
        if seen > _LONGEST_FIRST_LINE:
            return None
    lines = cutter.finish()
    return read_url(lines[0].data or b"") if lines else None


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _label(name: str) -> str:
    """A file's name as text that a header can carry in quotes."""
    if name == STDIO:
        return "stdin.jsonl"
    text = Path(name).name.encode("utf-8", "replace").decode()
    return "".join(char if char.isprintable() and char not in '"\\' else "_" for char in text)
