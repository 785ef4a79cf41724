"""Cutting bytes into lines: numbers, spans, limits, and that chunks make no difference."""

import random
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.lines import BOM, LineCutter, RawLine

LIMIT = 12

# Short lines around the limit, with every end of line that there is.
pieces = st.sampled_from(
    [
        b"a",
        b"{}",
        b"\n",
        b"\r\n",
        b"\r",
        b" ",
        b"\t",
        b"x" * (LIMIT - 1),
        b"y" * LIMIT,
        BOM,
        b"\xff",
    ]
)
contents = st.lists(pieces, max_size=24).map(b"".join)


def cut(data: bytes, sizes: list[int] | None = None, limit: int = LIMIT) -> list[RawLine]:
    cutter = LineCutter(limit)
    lines, start = list[RawLine](), 0
    for size in sizes or []:
        lines += cutter.feed(data[start : start + size])
        start += size
    lines += cutter.feed(data[start:])
    return lines + cutter.finish()


def expected(data: bytes) -> list[RawLine]:
    """The same by the plainest means."""
    lines, start = [], 0
    for number, whole in enumerate(data.split(b"\n"), start=1):
        end = min(start + len(whole) + 1, len(data))
        begin = len(BOM) if start == 0 and data.startswith(BOM) else 0
        body = whole[begin:].removesuffix(b"\r")
        if len(body) > LIMIT:
            lines.append(RawLine(number, start, end, None))
        elif body.strip(b" \t\r\n\x0b\x0c"):
            lines.append(RawLine(number, start + begin, end, body))
        start = end
    return lines


@given(contents, st.lists(st.integers(0, 9), max_size=40))
def test_any_cutting_of_the_bytes_gives_the_same_lines(data: bytes, sizes: list[int]) -> None:
    assert cut(data, sizes) == cut(data) == expected(data)


@given(contents)
def test_spans_point_at_the_lines_in_the_file(data: bytes) -> None:
    for line in cut(data):
        span = data[line.start : line.end].removesuffix(b"\n").removesuffix(b"\r")
        assert line.data is None or line.data == span


@given(contents, st.integers(0, 30))
def test_a_cutter_that_starts_at_a_line_reads_on_as_one_that_came_from_the_front(
    data: bytes, at: int
) -> None:
    lines = cut(data)
    for i in range(min(at, len(lines))):
        cutter = LineCutter(LIMIT, start=lines[i].end, first_line=lines[i].number + 1)
        rest = cutter.feed(data[lines[i].end :]) + cutter.finish()
        assert rest == lines[i + 1 :]


def test_blank_lines_are_counted_and_left_out() -> None:
    lines = cut(b"\n \t\r\na\n\r\n\nb")
    assert [(line.number, line.data) for line in lines] == [(3, b"a"), (6, b"b")]


def test_a_line_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    for ending in (b"", b"\n", b"\r\n"):
        for bom in (b"", BOM):
            assert cut(bom + b"x" * LIMIT + ending)[0].data == b"x" * LIMIT
            assert cut(bom + b"x" * (LIMIT + 1) + ending)[0].data is None


def test_six_megabytes_pass_and_one_byte_more_does_not_however_they_come() -> None:
    limit = 6 * 1024 * 1024
    for size, fits in ((limit, True), (limit + 1, False)):
        line = b"x" * size + b"\nz\n"
        for sizes in ([], [1024 * 1024] * 6, [limit, 1]):
            first, second = cut(line, sizes, limit)
            assert (first.data is not None) is fits
            assert (first.start, first.end, second.number) == (0, size + 1, 2)


def test_only_a_bom_at_the_start_of_the_file_is_stripped() -> None:
    first, second = cut(BOM + b"a\n" + BOM + b"b\n")
    assert (first.start, first.data) == (3, b"a")
    assert second.data == BOM + b"b"


def test_finishing_twice_gives_the_last_line_once() -> None:
    cutter = LineCutter(LIMIT)
    assert cutter.feed(b"tail") == []
    assert cutter.finish() == [RawLine(1, 0, 4, b"tail")]
    assert cutter.finish() == []


def test_an_endless_line_is_not_held() -> None:
    cutter, chunk = LineCutter(64 * 1024), random.Random(1).randbytes(4096).replace(b"\n", b".")
    tracemalloc.start()
    for _ in range(2500):
        assert cutter.feed(chunk) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 512 * 1024
    assert cutter.feed(b"\n") == [RawLine(1, 0, 2500 * 4096 + 1, None)]
