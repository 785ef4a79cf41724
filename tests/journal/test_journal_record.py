"""The bytes of a journal: what was whole is read, what was torn never was."""

from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.usage import ZERO, Usage
from batchmill.journal.record import decode_lines, encode_record, encode_sent
from batchmill.ports import Record

count = st.integers(0, 2**40)
usages = st.one_of(st.just(ZERO), st.builds(Usage, count, count, count, count))
texts = st.binary(max_size=60).map(lambda data: data.replace(b"\n", b" "))
records = st.builds(Record, st.integers(1, 10**6), st.booleans(), usages, texts)
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


@given(st.data())
def test_no_flipped_bit_of_a_record_passes_unnoticed(data: st.DataObject) -> None:
    before, hit, behind = (data.draw(records) for _ in range(3))
    raw = bytearray(encode_record(hit))
    at = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[at // 8] ^= 1 << at % 8
    found, sent = decode_lines(lines_of(encode_record(before) + bytes(raw) + encode_record(behind)))
    assert found[0] == before
    assert hit not in found[1:] or hit in (before, behind)
    assert all(record in (before, behind) for record in found)
    assert sent == []


def test_nothing_behind_a_bad_line_is_read() -> None:
    good, late = (
        encode_record(Record(1, True, ZERO, b"a")),
        encode_record(Record(2, True, ZERO, b"b")),
    )
    bad = bytearray(good)
    bad[-2] ^= 1
    assert decode_lines(lines_of(good + bytes(bad) + late)) == ([Record(1, True, ZERO, b"a")], [])


@given(st.binary(max_size=120))
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    decode_lines(lines_of(data))
