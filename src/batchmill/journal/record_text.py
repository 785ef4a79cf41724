"""Text as journals were before their frames: a line a record, so that running batches go on.

crc32 kind number[@region] model millis rejections retries input output cached reasoning line
s number                                   a line that is about to be sent
"""

from collections.abc import Iterable
from zlib import crc32

from batchmill.domain.usage import ZERO, Usage
from batchmill.ports import Record

_SENT = b"s "
_NO_USAGE = [b"0"] * 4


def decode_text(lines: Iterable[bytes]) -> tuple[list[Record], list[int]]:
    """The settled records and the sent numbers, up to the first line that is not whole."""
    records: list[Record] = []
    sent: list[int] = []
    for line in lines:
        try:
            if line.startswith(_SENT) and line.endswith(b"\n"):
                sent.append(int(line[2:-1]))
            else:
                records.append(_decode_record(line))
        except ValueError:
            break
    return records, sent


def _decode_record(line: bytes) -> Record:
    if not line.endswith(b"\n") or line[8:9] != b" ":
        raise ValueError("torn")
    text = line[9:-1]
    if int(line[:8], 16) != crc32(text):
        raise ValueError("torn")
    kind, number, model, millis, rejections, retries, *used, rest = text.split(b" ", 10)
    if len(used) != len(_NO_USAGE):
        raise ValueError("not a record of this release")
    number, _, region = number.partition(b"@")
    usage = ZERO if used == _NO_USAGE else Usage(*map(int, used))
    return Record(
        int(number),
        kind != b"e",
        usage,
        rest,
        model=int(model),
        thinks=kind == b"t",
        millis=int(millis),
        rejections=int(rejections),
        retries=int(retries),
        region=region.decode(),
    )
