"""The bytes of a journal: what was whole is read, what was torn never was."""

from io import BytesIO
from struct import pack
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.domain.usage import ZERO, Usage
from batchmill.journal.record import decode, encode_group, encode_record, encode_sent
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
entries = st.lists(st.one_of(records, st.integers(1, 10**6)), max_size=12)


def encode(entry: Record | int) -> bytes:
    return encode_sent(entry) if isinstance(entry, int) else encode_record(entry)


def read(data: bytes) -> tuple[list[Record], list[int]]:
    return decode(BytesIO(data))


def split(given_entries: list[Record | int]) -> tuple[list[Record], list[int]]:
    settled = [one for one in given_entries if not isinstance(one, int)]
    return settled, [one for one in given_entries if isinstance(one, int)]


@given(entries)
def test_what_was_written_is_read_back(given_entries: list[Record | int]) -> None:
    data = b"".join(map(encode, given_entries))
    assert read(data) == split(given_entries)


@given(st.lists(st.integers(1, 2**64 - 1), max_size=12), st.lists(records, max_size=4))
def test_what_was_written_in_one_go_is_read_back(sent: list[int], settled: list[Record]) -> None:
    assert read(encode_group(sent, settled)) == (settled, sent)


def test_a_torn_group_of_sent_lines_is_none() -> None:
    written = Record(1, True, ZERO, b"a")
    before, group = encode_record(written), encode_group([2, 3], [])
    for cut in range(len(group)):
        assert read(before + group[:cut]) == ([written], []), f"cut at {cut}"
    assert read(before + group) == ([written], [2, 3])


def test_a_group_whose_size_is_no_whole_number_of_lines_is_none() -> None:
    numbers = b"\x01" + bytes(7)
    for size, found in ((8, [1]), (7, [])):
        summed = numbers[:size]
        frame = pack("<BII", 0xB4, crc32(summed), size) + summed
        assert read(frame) == ([], found)


def test_a_tail_torn_at_any_byte_costs_the_torn_line_alone() -> None:
    written: list[Record | int] = [
        Record(1, True, Usage(3, 4, 1, 2), b'{"a":1}'),
        2,
        Record(2, False, ZERO, b""),
        Record(30, True, ZERO, b"x y  z"),
        31,
    ]
    pieces = [encode(entry) for entry in written]
    data = b"".join(pieces)
    ends = [sum(map(len, pieces[: n + 1])) for n in range(len(pieces))]
    for cut in range(len(data) + 1):
        whole = sum(end <= cut for end in ends)
        assert read(data[:cut]) == split(written[:whole]), f"cut at {cut}"


@settings(deadline=None)
@given(records, st.data())
def test_a_flipped_bit_never_makes_a_record_that_was_not_written(
    hit: Record, data: st.DataObject
) -> None:
    before, behind = Record(1, True, Usage(1, 2), b"before"), Record(2, False, ZERO, b"behind")
    raw = bytearray(encode_record(hit))
    at = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[at // 8] ^= 1 << at % 8
    found, sent = read(encode_record(before) + bytes(raw) + encode_record(behind))
    assert (found, sent) == ([before], [])


def test_nothing_behind_a_bad_line_is_read() -> None:
    good, late = (
        encode_record(Record(1, True, ZERO, b"a")),
        encode_record(Record(2, True, ZERO, b"b")),
    )
    bad = bytearray(good)
    bad[-2] ^= 1
    assert read(good + bytes(bad) + late) == ([Record(1, True, ZERO, b"a")], [])


def test_a_frame_whose_size_is_too_small_for_its_numbers_is_no_record() -> None:
    short = b"o" * 64
    assert read(pack("<BII", 0xB1, crc32(short), len(short)) + short) == ([], [])
    enough = encode_record(Record(1, True, ZERO, b""))
    assert len(read(enough)[0]) == 1


@pytest.mark.parametrize("begin", [b"\xb1", b"\xb2", b"\xb4", b""])
@given(data=st.binary(max_size=120))
def test_no_bytes_make_the_reader_raise(begin: bytes, data: bytes) -> None:
    read(begin + data)


def text_of(line: bytes) -> bytes:
    return b"%08x %s\n" % (crc32(line), line)


def test_text_of_before_there_were_frames_is_read() -> None:
    """So that the journal of a running batch outlives an update."""
    data = (
        b"s 7\n"
        + text_of(b'o 7 0 9 0 0 1 2 3 4 {"a":1}')
        + text_of(b"t 8@eu 1 0 2 3 0 0 0 0 {}")
        + text_of(b"e 9 0 0 0 0 0 0 0 0 {}")
    )
    assert read(data) == (
        [
            Record(7, True, Usage(1, 2, 3, 4), b'{"a":1}', millis=9),
            Record(8, True, ZERO, b"{}", 1, True, 0, 2, 3, "eu"),
            Record(9, False, ZERO, b"{}"),
        ],
        [7],
    )
    assert read(data[:-1])[0] == read(data)[0][:2]
    assert read(data.replace(b"@eu", b"@us"))[0] == read(data)[0][:1]


def test_a_line_of_another_release_is_no_record() -> None:
    assert read(text_of(b'o 12 3 4 0 0 {"a":1}')) == ([], [])
