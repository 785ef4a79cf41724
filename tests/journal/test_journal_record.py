"""The bytes of a journal: what was whole is read, what was torn never was."""

from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.domain.usage import ZERO, Usage
from batchmill.journal.record import decode_lines, encode_record, encode_sent
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


def lines_of(data: bytes) -> list[bytes]:
    """As a file gives them: cut at newlines alone."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def split(given_entries: list[Record | int]) -> tuple[list[Record], list[int]]:
    settled = [one for one in given_entries if not isinstance(one, int)]
    return settled, [one for one in given_entries if isinstance(one, int)]


@given(entries)
def test_what_was_written_is_read_back(given_entries: list[Record | int]) -> None:
    data = b"".join(map(encode, given_entries))
    assert decode_lines(lines_of(data)) == split(given_entries)


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
        assert decode_lines(lines_of(data[:cut])) == split(written[:whole]), f"cut at {cut}"


@settings(deadline=None)
@given(records, st.data())
def test_a_flipped_bit_never_makes_a_record_that_was_not_written(
    hit: Record, data: st.DataObject
) -> None:
    before, behind = Record(1, True, Usage(1, 2), b"before"), Record(2, False, ZERO, b"behind")
    raw = bytearray(encode_record(hit))
    at = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[at // 8] ^= 1 << at % 8
    found, sent = decode_lines(lines_of(encode_record(before) + bytes(raw) + encode_record(behind)))
    # One flip is harmless: that from a small to a capital letter within the checksum.
    is_harmless = at // 8 < 8 and at % 8 == 5
    assert found in ([before], [before, hit, behind] if is_harmless else [])
    assert sent == []


def test_nothing_behind_a_bad_line_is_read() -> None:
    good, late = (
        encode_record(Record(1, True, ZERO, b"a")),
        encode_record(Record(2, True, ZERO, b"b")),
    )
    bad = bytearray(good)
    bad[-2] ^= 1
    assert decode_lines(lines_of(good + bytes(bad) + late)) == ([Record(1, True, ZERO, b"a")], [])


def test_a_record_without_a_region_is_written_as_it_was_before_there_were_regions() -> None:
    """So that the journal of a running batch outlives an update."""
    assert encode_record(Record(7, True, Usage(1, 2, 3, 4), b"{}", millis=9)).split(b" ", 1)[1] == (
        b"o 7 0 9 0 0 1 2 3 4 {}\n"
    )
    assert encode_record(Record(7, True, ZERO, b"{}", region="eu")).split(b" ", 1)[1] == (
        b"o 7@eu 0 0 0 0 0 0 0 0 {}\n"
    )


@given(st.binary(max_size=120))
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    decode_lines(lines_of(data))


def test_a_line_of_another_release_is_no_record() -> None:
    text = b'o 12 3 4 0 0 {"a":1}'
    assert decode_lines([b"%08x %s\n" % (crc32(text), text)]) == ([], [])
