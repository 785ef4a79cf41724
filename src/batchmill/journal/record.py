"""The bytes of a journal: frames, each settled line's with a checksum of its own.

    SETTLED  crc32 (4)  size (4)  what is summed: numbers (65)  region  line
    GROUP    crc32 (4)  size (4)  what is summed: the number (8) of each line about to be sent
    SENT     number (8)                                  a single one of them

Everything is little-endian. Only whole frames with a right checksum are read,
and nothing after the first bad one: what a crash tore is as if it had never
been written. Text, which earlier journals were, is read as well.
"""

import sys
from array import array
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import BinaryIO
from zlib import crc32

from batchmill.domain.usage import ZERO, Usage
from batchmill.journal.record_text import decode_text
from batchmill.ports import Record

# No text begins so: it is no UTF-8. No single bit makes one of another.
_SETTLED, _SENT, _GROUP = 0xB1, 0xB2, 0xB4

_SUM = Struct("<BII")
_MARK = Struct("<BQ")
_NUMBER_BYTES = 8
# kind, number, model, millis, rejections, retries, the four kinds of tokens, the region's length
_NUMBERS = Struct("<cQQQQQQQQQB")


# What a frame has besides its line and its region, whose names are ASCII.
FRAME_BYTES = _SUM.size + _NUMBERS.size
MARK_BYTES = _MARK.size


def encode_group(sent: Sequence[int], records: Iterable[Record]) -> bytes:
    """The frames of lines that are about to be sent, and of settled ones.

    In one go, since that costs less than a call and a copy for each.
    """
    pieces = [_group_of(sent)] if sent else []
    for record in records:
        line = record.line
        head = _head_of(record)
        pieces += (_SUM.pack(_SETTLED, crc32(line, crc32(head)), len(head) + len(line)), head, line)
    return b"".join(pieces)


def encode_record(record: Record) -> bytes:
    """The frame of one settled line."""
    return encode_group((), (record,))


def encode_sent(number: int) -> bytes:
    """The frame that says a line is about to be sent."""
    return _MARK.pack(_SENT, number)


def _group_of(sent: Sequence[int]) -> bytes:
    numbers = _little_endian(array("Q", sent)).tobytes()
    return _SUM.pack(_GROUP, crc32(numbers), len(numbers)) + numbers


def _numbers_of(summed: bytes) -> "array[int]":
    return _little_endian(array("Q", summed))


def _little_endian(numbers: "array[int]") -> "array[int]":
    """The same for a machine of either kind, and back."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _head_of(record: Record) -> bytes:
    """All but the line: ``o`` succeeded, ``t`` the same thinking, ``e`` failed."""
    usage, region = record.usage, record.region
    head = _NUMBERS.pack(
        (b"t" if record.thinks else b"o") if record.ok else b"e",
        record.number,
        record.model,
        record.millis,
        record.rejections,
        record.retries,
        usage.input,
        usage.output,
        usage.cached,
        usage.reasoning,
        len(region),
    )
    return head + region.encode("ascii") if region else head


def decode(file: BinaryIO) -> tuple[list[Record], list[int]]:
    """The settled records and the sent numbers, up to the first frame that is not whole."""
    first = file.read(1)
    file.seek(0)
    if first and first[0] not in (_SETTLED, _SENT, _GROUP):
        return decode_text(file)
    records: list[Record] = []
    sent: list[int] = []
    while len(head := file.read(_SUM.size)) == _SUM.size:
        kind, checksum, size = _SUM.unpack(head)
        if kind == _SENT:
            sent.append(_MARK.unpack(head)[1])
            continue
        summed = file.read(size) if kind in (_SETTLED, _GROUP) else b""
        if len(summed) != size or crc32(summed) != checksum:
            break
        if kind == _GROUP and not size % _NUMBER_BYTES:
            sent += _numbers_of(summed)
        elif kind == _SETTLED and size >= _NUMBERS.size:
            records.append(_record_of(summed))
        else:
            break
    return records, sent


def _record_of(summed: bytes) -> Record:
    numbers = _NUMBERS.unpack_from(summed)
    kind, number, model, millis, rejections, retries, used_in, used_out, cached, reasoning = (
        numbers[:-1]
    )
    start = _NUMBERS.size + numbers[-1]
    is_used = used_in or used_out or cached or reasoning
    return Record(
        number,
        kind != b"e",
        Usage(used_in, used_out, cached, reasoning) if is_used else ZERO,
        summed[start:],
        model,
        kind == b"t",
        millis,
        rejections,
        retries,
        summed[_NUMBERS.size : start].decode(),
    )
