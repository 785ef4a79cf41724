"""The head that is not parsed again: it changes what an answer costs, and nothing else."""

from collections.abc import Callable, Sequence
from random import Random

import pytest
from canned_answers import CAP, KEPT
from generated_answers import make_answer, make_spoilt
from read_answers import kind_of

from batchmill.ports import FaultKind, Reply
from batchmill.upstream.http_answer import AnswerReader
from batchmill.upstream.http_head import UsualHead

BODY = b'{"ok": true}'
ROUNDS = 3_000


def answer(body: bytes, *, before: bytes = b"Server: x\r\n", after: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 200 OK\r\n" + before + length + after + b"\r\n" + body


def learned(*answers: bytes) -> UsualHead:
    """What is known after these answers."""
    usual = UsualHead()
    for data in answers:
        assert AnswerReader(CAP, lambda: 0.0, usual).feed(data)
    return usual


def read(data: bytes, usual: UsualHead) -> tuple[Reply | FaultKind | None, bool]:
    """What comes out of an answer, and whether the connection may serve again."""
    reader = AnswerReader(CAP, lambda: 0.0, usual)
    outcome = kind_of(reader.feed(data) or reader.end())
    return outcome, reader.is_reusable


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 99, 100, 101])
def test_the_same_head_with_another_length_is_known(size: int) -> None:
    usual = learned(answer(BODY, after=b"Date: now\r\n"))
    body = b"x" * size
    known = usual.body_of(answer(body, after=b"Date: now\r\n"))
    # Just below a power of ten the number is one digit short of what the bytes suggest.
    assert known == (None if size in (9, 99) else body)
    assert read(answer(body, after=b"Date: now\r\n"), usual) == (Reply(200, body), True)


def test_bodies_of_every_length_read_the_same() -> None:
    for size in range(CAP + 2):
        data = answer(b"x" * size)
        assert read(data, learned(answer(BODY))) == read(data, UsualHead()), size


@pytest.mark.parametrize(
    "data",
    [
        answer(BODY, before=b"Server: y\r\n"),
        answer(BODY, after=b"Date: now\r\n"),
        answer(BODY).replace(b"200 OK", b"201 OK"),
        answer(BODY).replace(b": 12", b": 012"),
        answer(BODY) + b"}",
        answer(BODY)[:-1],
        b"\r\n" + answer(BODY),
    ],
    ids=["field", "more", "status", "zeros", "longer", "shorter", "blank"],
)
def test_no_other_head_is_taken_for_it(data: bytes) -> None:
    usual = learned(answer(BODY))
    assert usual.body_of(data) is None
    assert read(data, usual) == read(data, UsualHead())


@pytest.mark.parametrize(
    "data",
    [
        answer(BODY).replace(b"200 OK", b"201 OK"),
        answer(BODY, after=b"Retry-After: 3\r\n"),
        answer(BODY, after=b"Content-Encoding: identity\r\n"),
        answer(BODY, after=b"Connection: close\r\n"),
        answer(BODY).replace(b"HTTP/1.1", b"HTTP/1.0"),
        answer(BODY).replace(b": 12", b": 012"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(BODY),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["status", "wait", "packed", "close", "old", "zeros", "interim", "chunked"],
)
def test_only_a_head_that_says_nothing_else_is_kept(data: bytes) -> None:
    assert learned(data).body_of(data) is None


def test_a_field_that_only_names_the_length_is_not_taken_for_it() -> None:
    before = b"X-Content-Length: 12\r\nVary: Content-Length: 12\r\n"
    usual = learned(answer(BODY, before=before))
    assert usual.body_of(answer(b"x", before=before)) == b"x"
    assert usual.body_of(answer(b"x", before=before.replace(b"12", b"1"))) is None


def test_a_known_head_does_not_lift_the_cap() -> None:
    usual = learned(answer(BODY))
    assert read(answer(b"x" * CAP), usual)[0] == Reply(200, b"x" * CAP)
    assert read(answer(b"x" * (CAP + 1)), usual)[0] is FaultKind.TOO_LARGE


@pytest.mark.parametrize("name", KEPT)
def test_an_answer_reads_the_same_a_second_time(name: str) -> None:
    data = KEPT[name].data
    assert read(data, learned(data)) == read(data, UsualHead())


def test_an_answer_that_is_known_stands_between_others_on_one_connection() -> None:
    reader = AnswerReader(CAP)
    for _ in range(2):
        for body in (BODY, b"x" * 50):
            assert reader.feed(answer(body)) == Reply(200, body)
        assert reader.feed(answer(BODY)[:30]) is None
        assert reader.has_begun
        assert reader.feed(answer(BODY)[30:]) == Reply(200, BODY)


def test_what_was_read_before_changes_nothing() -> None:
    makers: Sequence[Callable[[Random], bytes]] = (
        lambda chance: make_answer(chance).data,
        make_spoilt,
        lambda chance: answer(chance.randbytes(chance.choice((0, 7, 12, 700)))),
    )
    served = 0
    for seed in range(ROUNDS):
        chance = Random(seed)
        first, second = (chance.choice(makers)(chance) for _ in range(2))
        usual = UsualHead()
        read(first, usual)
        served += usual.body_of(second) is not None
        assert read(second, usual) == read(second, UsualHead()), seed
    assert served > ROUNDS // 20


def answers_until_known(usual: UsualHead, data: bytes) -> int:
    """How often an answer comes until its head is known."""
    for times in range(1, 2_000):
        assert isinstance(read(data, usual)[0], Reply)
        if usual.body_of(data) is not None:
            return times
    raise AssertionError


def test_a_head_is_known_when_it_comes_for_the_second_time() -> None:
    assert answers_until_known(UsualHead(), answer(BODY)) == 1


def test_heads_that_never_come_again_are_kept_ever_more_rarely() -> None:
    usual = UsualHead()
    for number in range(100):
        read(answer(BODY, before=b"X-Id: %d\r\n" % number), usual)
    assert 1 < answers_until_known(usual, answer(BODY)) < 100
    for number in range(20_000):
        read(answer(BODY, before=b"X-Id: %d\r\n" % number), usual)
    times = answers_until_known(usual, answer(BODY))
    assert 1 < times <= 1_025
    read(answer(BODY), usual)
    assert answers_until_known(usual, answer(BODY, before=b"Server: y\r\n")) == 1
