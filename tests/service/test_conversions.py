"""Conversions of streams: how the bytes are cut makes no difference, and little is held."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.convert import GenerateRules, generate_media, generate_text
from batchmill.domain.errors import InvalidRequest, TooLarge
from batchmill.domain.limits import Limits
from batchmill.service import conversions
from batchmill.service.conversions import Conversions, Part, Tally, read_lines

RULES = GenerateRules(model="m")


async def cut(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def collect(
    data: bytes,
    make: Callable[[Conversions, AsyncIterator[bytes]], AsyncIterator[bytes]],
    *,
    size: int = 3,
    limits: Limits | None = None,
) -> bytes:
    async def main() -> bytes:
        made = make(Conversions(limits or Limits()), cut(data, size))
        return b"".join([block async for block in made])

    return asyncio.run(main())


def texts(data: bytes, **more: Any) -> bytes:
    return collect(data, lambda made, chunks: made.text_requests(chunks, RULES), **more)


def table(data: bytes, parts: list[Part], tally: Tally, **more: Any) -> bytes:
    return collect(
        data, lambda made, chunks: made.results_table(chunks, parts, tally, bom=False), **more
    )


@given(
    st.lists(st.text(st.sampled_from("aé😀\ufeff \r\n\u2028"), max_size=5), max_size=8),
    st.integers(1, 9),
)
def test_the_cut_makes_no_difference_to_lines(lines: list[str], size: int) -> None:
    data = "\n".join(lines).encode()
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert b"".join(read_lines(chunks, 1_000)) == data
    assert list(read_lines(chunks, 1_000)) == list(read_lines([data], 1_000))


@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_each_line_of_text_is_a_request_however_lines_end(size: int) -> None:
    made = texts("\ufeffOne\r\n\r\nTwo é\rThree".encode(), size=size)
    assert made == b"".join(generate_text(["One", "Two é", "Three"], RULES))


def test_the_test_model_is_asked_where_it_answers() -> None:
    rules = GenerateRules(model="batch-test-model")
    made = collect(b"a", lambda made, chunks: made.text_requests(chunks, rules))
    assert json.loads(made)["url"] == "/v1/chat/ds-test"


def test_a_batch_has_no_more_lines_than_may_be() -> None:
    limits = Limits(max_lines=2)
    assert texts(b"a\nb\n", limits=limits).count(b"\n") == 2
    with pytest.raises(InvalidRequest, match="more than 2 requests"):
        texts(b"a\nb\nc\n", limits=limits)


@pytest.mark.parametrize("end", [b"", b"\n", b"\nshort\n"])
def test_a_line_that_is_too_long_is_refused(end: bytes) -> None:
    limits = Limits(max_line_bytes=8)
    assert texts(b"ok\n" + b"x" * 8 + end, limits=limits)
    with pytest.raises(InvalidRequest, match="Line 2 is longer than 8 bytes"):
        texts(b"ok\n" + b"x" * 9 + end, limits=limits)


def test_what_is_no_text_is_told_with_its_line() -> None:
    with pytest.raises(InvalidRequest, match="not UTF-8 in line 2"):
        texts(b"good\nbad \xff\n")


def test_media_and_questions_come_as_one_body() -> None:
    media, questions = b"https://a/1.png, https://a/2.mp4\nhttps://b/3.wav\n", "Wäs?\nWho?".encode()
    made = collect(
        media + questions,
        lambda made, chunks: made.media_requests(chunks, len(media), RULES),
    )
    wanted = generate_media(media.decode().splitlines(), questions.decode().splitlines(), RULES)
    assert made == b"".join(wanted)


def test_media_are_held_whole_and_so_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversions, "MEDIA_BYTES", 14)

    def make(data: bytes) -> bytes:
        return collect(data, lambda made, chunks: made.media_requests(chunks, 12, RULES))

    assert make(b"https://a/b\nq?").count(b"\n") == 1
    with pytest.raises(TooLarge):
        make(b"https://a/b\nq??")


def test_several_result_files_become_one_table() -> None:
    first = b'{"custom_id":"1","response":{"status_code":200,"body":{"model":"m"}}}'
    second = b'{"custom_id":"2","error":{"code":"x","message":"y"}}\n'
    tally = Tally()
    parts = [Part("a", len(first)), Part("b", len(second))]
    made = table(first + second, parts, tally)
    assert tally.count == 2
    assert made.decode().splitlines()[1:] == ["1,m,,200,,,,,", "2,,,,x,y,,,"]


def test_a_fault_in_results_names_the_file_and_its_line() -> None:
    first = b'{"custom_id":"1"}\n'
    parts = [Part("out.jsonl", len(first)), Part("err.jsonl", 6)]
    with pytest.raises(InvalidRequest, match=r"err\.jsonl: Line 2 is not a JSON object"):
        table(first + b"{}\nno\n", parts, Tally())


def test_a_part_that_ends_early_ends_the_table() -> None:
    tally = Tally()
    table(b"{}\n{}\n", [Part("a", 3), Part("b", 1_000), Part("c", 1_000)], tally)
    assert tally.count == 2
