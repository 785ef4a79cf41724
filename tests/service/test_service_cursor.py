"""The cursor of live results: it comes back as it went, and nothing else is taken for one."""

import zlib
from base64 import urlsafe_b64encode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.errors import InvalidRequest
from batchmill.service.cursor import Cursor, Mark, read_cursor, write_cursor

BATCH = "batch_1"
NUMBERS = st.frozensets(st.integers(1, 300), max_size=80)
MARKS = st.builds(Mark, st.integers(0, 2**40), st.integers(0, 1000))


@given(cursor=st.builds(Cursor, NUMBERS, NUMBERS, MARKS, MARKS))
def test_a_cursor_comes_back_as_it_went(cursor: Cursor) -> None:
    text = write_cursor(BATCH, cursor)
    assert read_cursor(BATCH, text, 300) == cursor
    assert text.replace("-", "").replace("_", "").isalnum()


def test_fifty_thousand_lines_in_order_make_a_short_cursor() -> None:
    # one line in a hundred is still on its way
    numbers = frozenset(n for n in range(1, 50_001) if n % 100)
    assert len(write_cursor(BATCH, Cursor(numbers))) < 1000


def test_a_cursor_is_good_for_its_batch_alone() -> None:
    text = write_cursor(BATCH, Cursor(frozenset({1})))
    with pytest.raises(InvalidRequest):
        read_cursor("batch_2", text, 10)


@pytest.mark.parametrize(("most", "fits"), [(5, True), (4, False)])
def test_a_cursor_names_no_more_lines_than_a_batch_may_have(most: int, fits: bool) -> None:
    text = write_cursor(BATCH, Cursor(frozenset(range(1, 6))))
    if fits:
        read_cursor(BATCH, text, most)
    else:
        with pytest.raises(InvalidRequest):
            read_cursor(BATCH, text, most)


def forge(value: object) -> str:
    packed = zlib.compress(msgspec.msgpack.encode(value))
    return urlsafe_b64encode(packed).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "nonsense",
        "AAAA",
        "日本",
        "A" * 70_000,
        forge({}),
        forge([b"", [], [], [0, 0, 0, 0]]),
        forge([b"x" * 6, [1], [], [0, 0, 0, 0]]),
        forge([b"x" * 6, [-1, 2], [], [0, 0, 0, 0]]),
        forge([b"x" * 6, [0, 2**60], [], [0, 0, 0, 0]]),
        forge("a" * 5_000_000),
        write_cursor(BATCH, Cursor())[:-3],
    ],
)
def test_nothing_else_is_taken_for_a_cursor(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_cursor(BATCH, text, 10)
    assert refused.value.param == "after"


@given(text=st.text(max_size=60))
def test_no_text_breaks_the_reading(text: str) -> None:
    # a text that is a cursor by chance would have to carry the batch's tag
    with pytest.raises(InvalidRequest, match="x-next-after"):
        read_cursor(BATCH, text, 10)
