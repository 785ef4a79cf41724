"""The answer reader, byte for byte and without a socket."""

import gzip
import sys
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from read_answers import feed_all

from batchmill.ports import FaultKind, Reply
from batchmill.upstream.http_answer import FRAMING_ALLOWANCE, AnswerReader

CAP = 1000
BODY = b'{"ok": true, "text": "\xc3\xa9"}'

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\n%b\r\n%x;name=value\r\n%b\r\n0\r\nTrailer: x\r\n\r\n"
) % (BODY[:5], len(BODY) - 5, BODY[5:])
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + PLAIN
PACKED = gzip.compress(BODY)
GZIPPED = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (
    len(PACKED),
    PACKED,
)
WHOLE = [PLAIN, CHUNKED, CONTINUED, GZIPPED]
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\n" + BODY


def read(*pieces: bytes, cap: int = CAP) -> Reply | FaultKind | None:
    return feed_all(AnswerReader(cap, lambda: 0.0), pieces)[0]


def fault_of(*pieces: bytes, cap: int = CAP) -> FaultKind | None:
    outcome = read(*pieces, cap=cap)
    return outcome if isinstance(outcome, FaultKind) else None


@pytest.mark.parametrize("data", WHOLE, ids=["plain", "chunked", "continued", "gzipped"])
@given(cuts=st.lists(st.integers(0, max(map(len, WHOLE)))))
def test_any_cutting_of_the_bytes_reads_the_same(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    assert read(*pieces) == Reply(200, BODY, None)


@pytest.mark.parametrize("data", WHOLE, ids=["plain", "chunked", "continued", "gzipped"])
def test_an_answer_is_whole_at_its_last_byte_and_not_before(data: bytes) -> None:
    reader = AnswerReader(CAP)
    assert not any(reader.feed(data[at : at + 1]) for at in range(len(data) - 1))
    assert reader.end() is None, "an answer with a length must not end early"
    assert reader.feed(data[-1:])
    assert reader.is_reusable


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    reader = AnswerReader(CAP)
    assert reader.feed(UNTIL_CLOSE) is None
    assert reader.end() == Reply(200, BODY, None)
    assert not reader.is_reusable


def test_an_empty_answer_without_a_length_is_an_answer() -> None:
    reader = AnswerReader(CAP)
    reader.feed(b"HTTP/1.0 500 Oh\r\n\r\n")
    assert reader.end() == Reply(500, b"", None)


@pytest.mark.parametrize("cut", range(len(b"HTTP/1.0 200 OK\r\nServer: old\r\n\r")))
def test_a_head_that_is_cut_off_is_no_answer(cut: int) -> None:
    reader = AnswerReader(CAP)
    reader.feed(UNTIL_CLOSE[:cut])
    assert reader.end() is None


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body_end_with_the_head(status: int) -> None:
    assert read(b"HTTP/1.1 %d X\r\n\r\n" % status) == Reply(status, b"", None)


def test_a_reader_serves_answer_after_answer() -> None:
    reader = AnswerReader(CAP)
    for status in (b"200 OK", b"429 No"):
        for fields in (b"Retry-After: 3\r\n", b""):
            assert not reader.has_begun
            data = b"HTTP/1.1 %b\r\n%bContent-Length: 2\r\n\r\n{}" % (status, fields)
            wait = 3.0 if fields else None
            assert reader.feed(data) == Reply(int(status[:3]), b"{}", wait)


@pytest.mark.parametrize("cut", [0, 50])
def test_nothing_of_an_answer_is_kept_behind_it(cut: int) -> None:
    reader = AnswerReader(CAP)
    reader.feed(PLAIN[:cut])
    reply = reader.feed(PLAIN[cut:])
    assert isinstance(reply, Reply)
    # This name's and the argument's; the reply's and the argument's.
    counts = sys.getrefcount(reply), sys.getrefcount(reply.body)
    assert counts == (2, 2)


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\nConnection: close\r\n", b"HTTP/1.0 200 OK\r\n"],
    ids=["close", "1.0"],
)
def test_a_connection_that_the_server_will_close_is_not_kept(head: bytes) -> None:
    reader = AnswerReader(CAP)
    assert isinstance(reader.feed(head + b"Content-Length: 2\r\n\r\n{}"), Reply)
    assert not reader.is_reusable


def test_an_old_server_may_ask_to_keep_the_connection() -> None:
    reader = AnswerReader(CAP)
    assert reader.feed(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}")
    assert reader.is_reusable


@pytest.mark.parametrize(
    "extra", [b"HTTP/1.1 200 OK\r\n", b"H", b"garbage", PLAIN], ids=["head", "byte", "junk", "more"]
)
def test_bytes_behind_the_answer_cost_the_connection_and_not_the_answer(extra: bytes) -> None:
    reader = AnswerReader(CAP)
    assert reader.feed(PLAIN + extra) == Reply(200, BODY, None)
    assert not reader.is_reusable


def test_an_answer_as_large_as_the_cap_is_read_and_one_byte_more_is_not() -> None:
    for size, kind in ((CAP, None), (CAP + 1, FaultKind.TOO_LARGE)):
        body = b"x" * size
        plain = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, body)
        chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        packed = gzip.compress(body)
        gzipped = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
        assert fault_of(plain) == kind
        assert fault_of(chunk % (size, body)) == kind
        assert fault_of(gzipped % (len(packed), packed)) == kind
        until_close = AnswerReader(CAP)
        assert feed_all(until_close, [b"HTTP/1.1 200 OK\r\n\r\n", body])[0] == kind
        assert until_close.end() == (Reply(200, body) if kind is None else None)


def test_an_announced_size_beyond_the_cap_is_refused_before_the_body() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    assert fault_of(head % CAP) is None
    assert fault_of(head % (CAP + 1)) == FaultKind.TOO_LARGE


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"\x15\x03\x01\x00\x02\x02F",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nxx",
        b"HTTP/2 200\r\n\r\n",
    ],
)
def test_what_is_no_http_is_garbled(data: bytes) -> None:
    assert fault_of(data) == FaultKind.GARBLED


@pytest.mark.parametrize("encoding", [b"br", b"gzip, gzip", b"zstd"])
def test_an_unknown_content_encoding_is_garbled(encoding: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: 2\r\n\r\n{}"
    assert fault_of(head % encoding) == FaultKind.GARBLED


def test_a_truncated_gzip_body_is_garbled() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
    assert fault_of(head % (len(PACKED) - 1, PACKED[:-1])) == FaultKind.GARBLED


def test_deflate_is_read_in_both_of_its_forms() -> None:
    raw = zlib.compress(BODY, wbits=-zlib.MAX_WBITS)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: Deflate\r\nContent-Length: %d\r\n\r\n%b"
    for packed in (zlib.compress(BODY), raw):
        assert read(head % (len(packed), packed)) == Reply(200, BODY, None)


def test_a_head_that_never_ends_is_cut_short() -> None:
    opening = b"HTTP/1.1 200 OK\r\nX: "
    room = FRAMING_ALLOWANCE - len(opening)
    assert fault_of(opening, b"y" * room) is None
    assert fault_of(opening, b"y" * room, b"y") == FaultKind.GARBLED


def test_interim_answers_without_end_are_cut_short() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert fault_of(*[interim] * (FRAMING_ALLOWANCE // len(interim) + 1)) == FaultKind.GARBLED


def test_chunks_of_one_byte_are_no_reason_to_give_up() -> None:
    body = b"x" * 60_000
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [head, *[b"1\r\nx\r\n" * 100] * 600, b"0\r\n\r\n"]
    assert read(*pieces, cap=len(body)) == Reply(200, body, None)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_crash_the_reader(data: bytes) -> None:
    reader = AnswerReader(CAP)
    outcome = reader.feed(b"HTTP/1.1 200 OK\r\n" + data)
    assert outcome is None or not reader.has_begun
    assert outcome is None or reader.end() is None
