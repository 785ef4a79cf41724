"""What may come in: the same verdict however the bytes are cut."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchmill.domain.errors import InvalidRequest, Refused, TooLarge
from batchmill.domain.limits import Limits
from batchmill.service.intake import Intake

LIMITS = Limits(max_file_bytes=60, max_line_bytes=20)
PIECES = st.lists(
    st.sampled_from(
        [
            *(b"{}", b"\n", b"\r\n", b" ", b'{"a":', b"1}", b"oops", b"o" * 12, b"\xef\xbb\xbf"),
            *("é".encode(), "日".encode(), "😀".encode(), b"\xf0\x9f", b"\xed\xa0\x80", b"\0"),
            *(b"\xff", b" " * 15),
        ]
    ),
    max_size=14,
).map(b"".join)


def judge(data: bytes, cuts: list[int]) -> str:
    """What an intake says of the bytes, cut at the given places."""
    intake = Intake(LIMITS)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    try:
        for start, end in pairwise(edges):
            intake.feed(data[start:end])
        intake.finish()
    except Refused as refused:
        return refused.message
    return "fine"


@given(data=PIECES, cuts=st.lists(st.integers(0, 80), max_size=8))
@example(data="日".encode(), cuts=[1, 2])
@example(data=b"\xef\xbb\xbf{}", cuts=[1, 2])
@example(data=b"\n\xef\xbb\xbf{}", cuts=[1])
@example(data=b"\xef\xbb\xbf\xef\xbb\xbf{}", cuts=[3])
@example(data=b"o" * 24 + b"\n{}", cuts=[21])
@example(data=b" " * 30 + b"\n", cuts=[21])
@example(data=b" " * 30 + b"oops\n", cuts=[21])
@example(data=b"oops" + b" " * 30, cuts=[21])
def test_how_the_bytes_were_cut_changes_no_acceptance(data: bytes, cuts: list[int]) -> None:
    whole, cut = judge(data, []), judge(data, cuts)
    assert (whole == "fine") == (cut == "fine")


@given(data=PIECES)
def test_what_is_accepted_is_utf8_with_content_within_the_limit(data: bytes) -> None:
    if judge(data, []) == "fine":
        text = data.decode("utf-8")
        assert text.removeprefix("\ufeff").strip(" \t\r\n")
        assert len(data) <= LIMITS.max_file_bytes


@pytest.mark.parametrize("size", [60, 61])
def test_the_limit_counts_every_byte(size: int) -> None:
    intake = Intake(LIMITS)
    data = b"{}".ljust(size)
    if size <= 60:
        intake.feed(data)
        intake.finish()
    else:
        with pytest.raises(TooLarge):
            intake.feed(data)


def test_the_byte_that_does_not_belong_is_named_across_blocks() -> None:
    intake = Intake(LIMITS)
    intake.feed("{}\n日".encode()[:-1])
    with pytest.raises(InvalidRequest, match="byte 4 does not belong"):
        intake.feed(b"x")


@pytest.mark.parametrize(("size", "accepted"), [(20, False), (21, True)])
def test_a_first_line_is_judged_only_as_far_as_a_line_may_be_long(
    size: int, accepted: bool
) -> None:
    # a longer one is for the validation to name, with its number
    assert (judge(b"x" * size, []) == "fine") is accepted


def test_only_the_first_line_with_content_is_judged() -> None:
    assert judge(b"\n \r\n{}\noops\n", []) == "fine"
    assert "first line is not JSON" in judge(b"\n \r\noops\n{}\n", [])
