"""The bytes of a journal: what was whole is read, what was torn never was."""

from collections.abc import Iterable
from io import BytesIO
from itertools import accumulate
from struct import pack
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.domain.usage import ZERO, Usage
from batchmill.journal.record import Group, decode, encode
from batchmill.ports import Record

count = st.integers(0, 2**40)
usages = st.one_of(st.just(ZERO), st.builds(Usage, count, count, count, count))
texts = st.binary(max_size=60).map(lambda data: data.replace(b"\n", b" "))
small = st.integers(0, 2**31)
good = st.builds(
    Record,
    number=st.integers(1, 10**6),
    ok=st.just(True),
    usage=usages,
    line=texts,
    model=small,
    thinks=st.booleans(),
    millis=small,
    rejections=small,
    retries=small,
    region=st.sampled_from(["", "eu", "cn-north-1", "a" * 63]),
)
bad = st.builds(Record, number=st.integers(1, 10**6), ok=st.just(False), usage=usages, line=texts)
records = st.one_of(good, bad)
groups = st.builds(
    Group, st.lists(st.integers(1, 2**64 - 1), max_size=12), st.lists(records, max_size=12)
)


def read(data: bytes | bytearray) -> tuple[list[Record], list[int]]:
    return decode(BytesIO(data))


def joined(written: Iterable[Group]) -> tuple[list[Record], list[int]]:
    settled, sent = list[Record](), list[int]()
    for group in written:
        settled += group.records
        sent += group.sent
    return settled, sent


@given(st.lists(groups, max_size=5))
def test_what_was_written_is_read_back(written: list[Group]) -> None:
    assert read(b"".join(map(encode, written))) == joined(written)


def test_what_an_earlier_process_wrote_is_read() -> None:
    """The bytes as they stand on disks: a release that reads others loses what was settled."""
    data = bytes.fromhex(
        "b842cf2a993000000092920207929a02c39403040102c4077b2261223a317d00c3090102a26575"
        "9a07c29400000000c4027b7d00c2000000a0"
    )
    thought = Record(2, True, Usage(3, 4, 1, 2), b'{"a":1}', 0, True, 9, 1, 2, "eu")
    assert read(data) == ([thought, Record(7, False, ZERO, b"{}")], [2, 7])


def test_a_tail_torn_at_any_byte_costs_the_torn_group_alone() -> None:
    written = [
        Group([1, 2], [Record(1, True, Usage(3, 4, 1, 2), b'{"a":1}')]),
        Group([2], []),
        Group([], [Record(2, False, ZERO, b""), Record(30, True, ZERO, b"x y  z")]),
        Group([31], []),
    ]
    pieces = [encode(group) for group in written]
    data = b"".join(pieces)
    ends = list(accumulate(map(len, pieces)))
    for cut in range(len(data) + 1):
        whole = sum(end <= cut for end in ends)
        assert read(data[:cut]) == joined(written[:whole]), f"cut at {cut}"


@settings(deadline=None)
@given(groups, st.data())
def test_a_flipped_bit_never_makes_a_group_that_was_not_written(
    hit: Group, data: st.DataObject
) -> None:
    before = Group([1], [Record(1, True, Usage(1, 2), b"before")])
    behind = Group([2], [Record(2, False, ZERO, b"behind")])
    raw = bytearray(encode(hit))
    at = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[at // 8] ^= 1 << at % 8
    assert read(encode(before) + bytes(raw) + encode(behind)) == joined([before])


def test_nothing_behind_a_bad_group_is_read() -> None:
    good = encode(Group([], [Record(1, True, ZERO, b"a")]))
    bad = bytearray(good)
    bad[-2] ^= 1
    late = encode(Group([], [Record(2, True, ZERO, b"b")]))
    assert read(good + bytes(bad) + late) == ([Record(1, True, ZERO, b"a")], [])


@pytest.mark.parametrize(
    "data",
    [b"", b"\x90", b"\x92\x90\x91\x01", b"\x92\xa1a\x90", b"\x92\x90\x90\x90", b"\xc1"],
    ids=["nothing", "no_lists", "no_record", "no_numbers", "more", "no_messagepack"],
)
def test_what_is_whole_and_no_group_is_none(data: bytes) -> None:
    assert read(pack("<BII", 0xB8, crc32(data), len(data)) + data) == ([], [])


@pytest.mark.parametrize("begin", [b"\xb1", b"\xb2", b"\xb4", b"\xb8", b""])
@given(data=st.binary(max_size=120))
def test_no_bytes_make_the_reader_raise(begin: bytes, data: bytes) -> None:
    read(begin + data)


def frame_of_before(number: int, line: bytes, *, kind: bytes, region: bytes = b"") -> bytes:
    numbers = pack("<cQQQQQQQQQB", kind, number, 1, 9, 2, 3, 4, 5, 6, 7, len(region))
    summed = numbers + region + line
    return pack("<BII", 0xB1, crc32(summed), len(summed)) + summed


def test_frames_of_single_lines_are_read() -> None:
    """So that the journal of a running batch outlives an update."""
    sent = pack("<QQ", 8, 9)
    data = (
        pack("<BQ", 0xB2, 7)
        + frame_of_before(7, b'{"a":1}', kind=b"o")
        + pack("<BII", 0xB4, crc32(sent), len(sent))
        + sent
        + frame_of_before(8, b"{}", kind=b"t", region=b"eu")
        + frame_of_before(9, b"", kind=b"e")
    )
    whole = (
        [
            Record(7, True, Usage(4, 5, 6, 7), b'{"a":1}', 1, False, 9, 2, 3),
            Record(8, True, Usage(4, 5, 6, 7), b"{}", 1, True, 9, 2, 3, "eu"),
            Record(9, False, Usage(4, 5, 6, 7), b"", 1, False, 9, 2, 3),
        ],
        [7, 8, 9],
    )
    assert read(data) == whole
    assert read(data[:-1]) == (whole[0][:2], whole[1])
    assert read(data.replace(b"eu", b"us")) == (whole[0][:1], whole[1])


@pytest.mark.parametrize(("kind", "size"), [(0xB1, 73), (0xB4, 7), (0xB3, 8)])
def test_a_frame_of_a_single_line_that_is_too_short_for_its_kind_is_none(
    kind: int, size: int
) -> None:
    summed = b"o" * size
    frame = pack("<BII", kind, crc32(summed), size) + summed
    assert read(pack("<BQ", 0xB2, 1) + frame) == ([], [1])
