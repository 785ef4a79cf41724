"""Tables on their way in: whatever their pieces are, and no more of them held than a row."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.catalog import TEST_ENDPOINT, TEST_MODEL
from batchmill.domain.convert import CsvRules, csv_to_requests
from batchmill.domain.errors import InvalidRequest
from batchmill.domain.limits import Limits
from batchmill.service.converting import BLOCK_BYTES, Converting
from batchmill.service.sample import sample_requests
from batchmill.service.tables import Tables, bounded_requests

RULES = CsvRules(model="m", system="Be brief.")
TABLE = '\ufeffa,"What is 2+2?\r\nSay why."\r\n,\r\nb,"Wie heißt ""du""? 🙂"\r\n'.encode()


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def made(
    data: bytes, rules: CsvRules = RULES, limits: Limits | None = None, size: int = 7
) -> bytes:
    async def main() -> bytes:
        found = Tables(limits or Limits()).requests(pieces(data, size), rules)
        return b"".join([block async for block in found])

    return asyncio.run(main())


def bounded(data: bytes, limits: Limits) -> list[bytes]:
    return list(bounded_requests(iter([data]), RULES, limits))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 10_000])
def test_how_a_table_is_cut_makes_no_difference(size: int) -> None:
    text = TABLE.decode().splitlines(keepends=True)
    assert made(TABLE, size=size) == b"".join(csv_to_requests(text, RULES))


@given(
    st.lists(
        st.tuples(st.uuids().map(str), st.text(st.characters(codec="utf-8"), min_size=1)),
        max_size=8,
    ),
    st.integers(1, 50),
)
def test_any_prompt_arrives_as_it_was(rows: list[tuple[str, str]], size: int) -> None:
    rows = [(name, prompt) for name, prompt in rows if prompt.strip()]
    quoted = "".join(f'{name},"{prompt.replace(chr(34), chr(34) * 2)}"\n' for name, prompt in rows)
    data = quoted.encode()
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    lines = list(bounded_requests(iter(chunks), RULES, Limits()))
    prompts = [msgspec.json.decode(line)["body"]["messages"][1]["content"] for line in lines]
    assert prompts == [prompt for _, prompt in rows]


def test_requests_to_the_test_model_go_to_its_endpoint() -> None:
    assert f'"url":"{TEST_ENDPOINT}"'.encode() in made(b"a,b\n", CsvRules(model=TEST_MODEL))


def test_a_fault_names_its_row() -> None:
    with pytest.raises(InvalidRequest, match="Row 2 has 1 columns"):
        made(b"a,b\nc\n")
    with pytest.raises(InvalidRequest, match="Row 3 has the same id as row 1"):
        made(b"a,b\nc,d\na,e\n")


def test_what_is_not_utf8_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="not UTF-8 near line 1"):
        made("a,über\n".encode("latin-1"))


def test_a_row_may_be_as_long_as_a_line_and_no_longer() -> None:
    limits = Limits(max_line_bytes=100)
    fits = b'a,"' + b"x" * 95 + b'"\n'
    assert len(fits) == 100
    assert len(bounded(fits * 1, limits)) == 1
    with pytest.raises(InvalidRequest, match="longer than 100 bytes"):
        bounded(b'a,"' + b"x" * 96 + b'"\n', limits)


def test_a_quote_that_is_never_closed_is_noticed_before_the_rest_is_held() -> None:
    def endless() -> Iterator[bytes]:
        yield b'a,"begins\n'
        for _ in range(50):
            yield b"b,c\n" * 10
        pytest.fail("it read on")

    with pytest.raises(InvalidRequest, match="Is a quote missing"):
        list(bounded_requests(endless(), RULES, Limits(max_line_bytes=1_000)))


def test_there_may_be_any_number_of_empty_rows() -> None:
    assert len(bounded(b"a,b\n" + b",,\r\n" * 1_000 + b"c,d\n", Limits(max_line_bytes=100))) == 2


def test_there_may_be_as_many_rows_as_a_batch_has_lines() -> None:
    limits = Limits(max_lines=2)
    assert len(bounded(b"a,b\nc,d\n", limits)) == 2
    with pytest.raises(InvalidRequest, match="more than 2 rows"):
        bounded(b"a,b\nc,d\ne,f\n", limits)


def test_a_column_of_prompts_that_is_taken_for_ids_is_noticed() -> None:
    limits = Limits(max_custom_id_chars=10)
    assert len(bounded("ü🙂".encode() * 5 + b",b\n", limits)) == 1
    with pytest.raises(InvalidRequest, match="longer than 10 characters"):
        bounded(b"x" * 200 + b",b\n", limits)


def test_a_converter_never_runs_ahead_of_who_reads_it() -> None:
    asked: list[int] = []

    async def numbered() -> AsyncIterator[bytes]:
        for number in range(1_000):
            asked.append(number)
            yield b"x" * BLOCK_BYTES

    async def main() -> None:
        blocks = Converting().convert(numbered(), lambda chunks: chunks)
        for count in range(1, 4):
            assert len(await anext(blocks)) == BLOCK_BYTES
            assert len(asked) == count
        await blocks.aclose()

    asyncio.run(main())


def test_a_converter_that_is_given_up_leaves_no_thread() -> None:
    threads: list[threading.Thread] = []

    def convert(chunks: Iterator[bytes]) -> Iterator[bytes]:
        threads.append(threading.current_thread())
        yield from chunks

    async def main() -> None:
        blocks = Converting().convert(pieces(b"x" * BLOCK_BYTES * 3, BLOCK_BYTES), convert)
        await anext(blocks)
        await blocks.aclose()

    asyncio.run(main())
    threads[0].join(60)
    assert not threads[0].is_alive()


def test_what_a_stream_raises_ends_the_converter() -> None:
    class Gone(Exception):
        pass

    async def broken() -> AsyncIterator[bytes]:
        yield b"a,b\n"
        raise Gone

    async def main() -> None:
        with pytest.raises(Gone):
            async for _ in Tables(Limits()).requests(broken(), RULES):
                pass

    asyncio.run(main())


def test_who_comes_too_late_waits_for_a_turn() -> None:
    async def main() -> None:
        converting = Converting(most_at_once=1)
        first = converting.convert(pieces(b"x" * 2 * BLOCK_BYTES, BLOCK_BYTES), lambda same: same)
        await anext(first)
        second = converting.convert(pieces(b"y", 1), lambda same: same)
        waiting = asyncio.ensure_future(anext(second))
        assert await anext(first)
        assert not waiting.done()
        await first.aclose()
        assert await waiting == b"y"
        await second.aclose()

    asyncio.run(main())


def test_without_a_model_that_takes_prompts_the_sample_is_for_the_test_model() -> None:
    assert f'"url":"{TEST_ENDPOINT}"'.encode() in sample_requests(())
    assert len(sample_requests(()).splitlines()) == 2
