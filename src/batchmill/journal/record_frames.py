"""Frames of single lines, as journals had before they kept groups, so that running batches go on.

SETTLED  crc32 (4)  size (4)  what is summed: numbers (74)  region  line
GROUP    crc32 (4)  size (4)  what is summed: the number (8) of each line about to be sent
SENT     number (8)                                  a single one of them
"""

from collections.abc import Iterable
from struct import Struct, iter_unpack
from typing import BinaryIO, Final
from zlib import crc32

from batchmill.domain.usage import Usage
from batchmill.ports import Record

SETTLED, SENT, GROUP = 0xB1, 0xB2, 0xB4
KINDS: Final = frozenset({SETTLED, SENT, GROUP})

_SUM = Struct("<BII")
_MARK = Struct("<BQ")
_NUMBER_BYTES = 8
# kind, number, model, millis, rejections, retries, the four kinds of tokens, the region's length
_NUMBERS = Struct("<cQQQQQQQQQB")


def decode_frames(file: BinaryIO) -> tuple[list[Record], list[int]]:
    """The settled records and the sent numbers, up to the first frame that is not whole."""
    records: list[Record] = []
    sent: list[int] = []
    while len(head := file.read(_SUM.size)) == _SUM.size:
        kind, checksum, size = _SUM.unpack(head)
        if kind == SENT:
            sent.append(_MARK.unpack(head)[1])
            continue
        summed = file.read(size) if kind in KINDS else b""
        if len(summed) != size or crc32(summed) != checksum:
            break
        if kind == GROUP and not size % _NUMBER_BYTES:
            sent += _numbers_of(summed)
        elif kind == SETTLED and size >= _NUMBERS.size:
            records.append(_record_of(summed))
        else:
            break
    return records, sent


def _numbers_of(summed: bytes) -> Iterable[int]:
    return (number for (number,) in iter_unpack("<Q", summed))


def _record_of(summed: bytes) -> Record:
    kind, number, model, millis, rejections, retries, *used, length = _NUMBERS.unpack_from(summed)
    start = _NUMBERS.size + length
    return Record(
        number,
        kind != b"e",
        Usage(*used),
        summed[start:],
        model,
        kind == b"t",
        millis,
        rejections,
        retries,
        summed[_NUMBERS.size : start].decode(),
    )
