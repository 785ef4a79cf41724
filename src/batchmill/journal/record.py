"""The bytes of a journal: frames, each settled line's with a checksum of its own.

    SETTLED  crc32 (4)  size (4)  what is summed: numbers (65)  region  line
    SENT     number (8)                                  a line that is about to be sent

Everything is little-endian. Only whole frames with a right checksum are read,
and nothing after the first bad one: what a crash tore is as if it had never
been written. Text, which earlier journals were, is read as well.
"""

from collections.abc import Iterable
from struct import Struct
from typing import BinaryIO
from zlib import crc32

from batchmill.domain.usage import ZERO, Usage
from batchmill.journal.record_text import decode_text
from batchmill.ports import Record

# No text begins so: it is no UTF-8.
_SETTLED, _SENT = 0xB1, 0xB2

_SUM = Struct("<BII")
_MARK = Struct("<BQ")
# kind, number, model, millis, rejections, retries, the four kinds of tokens, the region's length
_NUMBERS = Struct("<cQQQQQQQQQB")


# What a frame has besides its line and its region, whose names are ASCII.
FRAME_BYTES = _SUM.size + _NUMBERS.size
MARK_BYTES = _MARK.size


def encode_group(sent: Iterable[int], records: Iterable[Record]) -> bytes:
    """The frames of lines that are about to be sent, and of settled ones.

    In one go, since that costs less than a call and a copy for each.
    """
    pieces = [_MARK.pack(_SENT, number) for number in sent]
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
    if first and first[0] not in (_SETTLED, _SENT):
        return decode_text(file)
    records: list[Record] = []
    sent: list[int] = []
    while len(head := file.read(_SUM.size)) == _SUM.size:
        kind, checksum, size = _SUM.unpack(head)
        if kind == _SENT:
            sent.append(_MARK.unpack(head)[1])
            continue
        summed = file.read(size) if kind == _SETTLED else b""
        if len(summed) != size or crc32(summed) != checksum or size < _NUMBERS.size:
            break
        records.append(_record_of(summed))
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
