"""The bytes of a journal: a frame for each group of records that is written at once.

    KIND (1)  crc32 (4)  size (4)  what is summed: the group in MessagePack

Numbers are little-endian. A group is the numbers of the lines that are about to be sent, and the
records of settled ones. Only whole frames with a right checksum are read, and nothing after the
first bad one: what a crash tore is as if it had never been written. None of it was told of as
durable, for a group is told of as a whole. The sums are those of the standard library's crc32,
which takes ten times as long as that of zlib-ng.
"""

from dataclasses import dataclass, field
from struct import Struct
from typing import BinaryIO, Final

import msgspec
from zlib_ng.zlib_ng import crc32

from batchmill.journal.record_frames import KINDS, decode_frames
from batchmill.ports import Record

# No text begins so: it is no UTF-8. No single bit makes one of another, or of those before it.
_KIND: Final = 0xB8
_HEAD: Final = Struct("<BII")

# About what is written of a record besides its line and its region.
RECORD_BYTES: Final = 24
# At most what is written of a line that is about to be sent.
MARK_BYTES: Final = 9

_Written = tuple[list[int], list[Record]]

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final[msgspec.msgpack.Decoder[_Written]] = msgspec.msgpack.Decoder(_Written)


@dataclass(slots=True)
class Group:
    """What is written at once: lines about to be sent, settled ones, and their bytes, about."""

    sent: list[int] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    bytes: int = 0


def encode(group: Group) -> bytearray:
    """The frame of a group."""
    # Written behind the room for its head: a group is large, and would be copied once more.
    frame = bytearray(_HEAD.size)
    _ENCODER.encode_into((group.sent, group.records), frame, _HEAD.size)
    with memoryview(frame)[_HEAD.size :] as data:
        _HEAD.pack_into(frame, 0, _KIND, crc32(data), len(data))
    return frame


def decode(file: BinaryIO) -> tuple[list[Record], list[int]]:
    """The settled records and the sent numbers, up to the first frame that is not whole."""
    first = file.read(1)
    file.seek(0)
    if first and first[0] in KINDS:
        return decode_frames(file)
    records: list[Record] = []
    sent: list[int] = []
    while (written := _read_frame(file)) is not None:
        sent += written[0]
        records += written[1]
    return records, sent


def _read_frame(file: BinaryIO) -> _Written | None:
    """What is in the next frame; None without a whole one."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    kind, checksum, size = _HEAD.unpack(head)
    if kind != _KIND:
        return None
    data = file.read(size)
    if len(data) < size or crc32(data) != checksum:
        return None
    try:
        return _DECODER.decode(data)
    except msgspec.DecodeError:
        return None
