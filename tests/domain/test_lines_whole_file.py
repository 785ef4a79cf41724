"""Checking all lines at once: the short way finds what checking one after the other finds."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain import lines as module
from batchmill.domain.catalog import Catalog
from batchmill.domain.limits import Limits, Profile
from batchmill.domain.lines import BOM, FileCheck, LineCutter, LineRules, Stretch

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
LIMITS = replace(
    Limits(), max_lines=6, max_line_bytes=400, max_custom_id_chars=8, max_embedding_inputs=3
)
OFFERS = {"a": frozenset({CHAT, EMBEDDINGS}), "b": frozenset({CHAT})}
MESSAGES = [{"role": "user", "content": "hi"}]

bodies: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"model": st.sampled_from(["a", "a", "a", "b", "c", ""])},
    optional={
        "messages": st.sampled_from([MESSAGES, [], {}, "text", None]) | st.just(MESSAGES),
        "input": st.sampled_from(["text", ["one", "two"], [1, 2]]),
        "stream": st.sampled_from([True, False, None]),
        "enable_thinking": st.sampled_from([True, False, None, 1]),
        "note": st.sampled_from(["ä", "\ud800", "x" * 400]),
    },
)
lines: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "custom_id": st.sampled_from(["1", "2", "3", "4", "5", "", "12345678", "123456789", 7]),
        "method": st.sampled_from(["POST", "POST", "POST", "GET"]),
        "url": st.sampled_from([CHAT, CHAT, EMBEDDINGS, "/v1/none"]),
        "body": bodies | st.just("none"),
    },
)
usual = st.builds(
    lambda number, body: {"custom_id": number, "method": "POST", "url": CHAT, "body": body},
    st.integers(10, 99).map(str),
    st.sampled_from([{"model": "a", "messages": MESSAGES}]),
)
whole = st.builds(
    lambda value, is_plain: json.dumps(value, ensure_ascii=is_plain).encode(
        "utf-8", "surrogatepass"
    ),
    lines | usual | usual,
    st.booleans(),
)
texts = st.lists(
    st.tuples(
        whole | st.sampled_from([b"", b" ", b"\xff", b"{", b"\r"]),
        st.sampled_from([b"\n", b"\r\n"]),
    ),
    max_size=12,
).map(lambda pairs: b"".join(piece + end for pair in pairs for piece, end in [pair]))
rules = st.builds(
    LineRules,
    endpoint=st.sampled_from([CHAT, EMBEDDINGS]),
    catalog=st.just(Catalog(OFFERS)),
    profile=st.sampled_from(list(Profile)),
    limits=st.just(LIMITS),
    mixed_models=st.booleans(),
)


def told(check: FileCheck) -> tuple[Any, ...]:
    return check.finish(), check.lines, check.faults, check.models, check.is_overfull


@given(
    st.sampled_from([b"", BOM]), texts, rules, st.integers(1, 2000), st.sampled_from([1, 200, 2000])
)
def test_all_ways_find_the_same_lines_and_faults(
    mark: bytes, text: bytes, asked: LineRules, cut: int, few: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FEW_BYTES", few)
        compare(mark + text, asked, cut)


def compare(data: bytes, asked: LineRules, cut: int) -> FileCheck:
    """Check ``data`` line by line, and in chunks of ``cut`` bytes; the last of the checks.

    The chunks follow one another, or begin with a line: each, or where the one before had little.
    """
    single, cutter = FileCheck(asked), LineCutter(LIMITS.max_line_bytes)
    raws = cutter.feed(data) + cutter.finish()
    wanted = [line for raw in raws if (line := single.check(raw)) is not None]
    for leave in (0, 100, 5000):
        check, cutter = FileCheck(asked), LineCutter(LIMITS.max_line_bytes)
        found = []
        while chunk := data[cutter.offset : cutter.offset + cut]:
            found += check.check_chunk(cutter, chunk, leave=leave)
        found += check.check_all(cutter.finish())
        assert [place for stretch in found for place in places(stretch)] == [
            (line.number, line.start, line.end, line.model) for line in wanted
        ]
        assert told(check) == told(single)
    return check


def places(stretch: Stretch) -> Iterator[tuple[int, int, int, str]]:
    """What a stretch says of each line."""
    start = stretch.start
    pairs = zip(stretch.ends, stretch.models, strict=True)
    for number, (end, model) in enumerate(pairs, stretch.number):
        yield number, start, end, model
        start = end


GOOD = [
    b'{"custom_id": "%d", "method": "POST", "url": "/v1/chat/completions", '
    b'"body": {"model": "a", "messages": [{"content": "hi"}]}}' % number
    for number in range(8)
]
RULES = LineRules(CHAT, Catalog(OFFERS), Profile.QWEN, replace(Limits(), max_line_bytes=4000))


@pytest.mark.parametrize(
    ("odd", "lines", "faults"),
    [
        pytest.param(GOOD[2] + b" " + GOOD[3] + b"\n", 7, 1, id="two-on-a-line"),
        pytest.param(GOOD[2] + GOOD[3] + b"\n{\n}\n", 9, 3, id="two-here-and-one-over-two-lines"),
        pytest.param(GOOD[2].replace(b", ", b",\n", 1) + b"\n", 8, 2, id="one-over-two-lines"),
        pytest.param(GOOD[2].replace(b"hi", b"}\n{") + b"\n", 8, 2, id="a-newline-in-a-text"),
        pytest.param(GOOD[2].replace(b'"2"', b'"}\n{"') + b"\n", 8, 2, id="a-newline-in-an-id"),
        pytest.param(GOOD[2] + b"\r\n", 7, 0, id="a-carriage-return"),
        pytest.param(GOOD[2] + b" \n", 7, 0, id="a-blank-at-the-end"),
        pytest.param(b" " + GOOD[2] + b"\n\n \n", 7, 0, id="blanks-and-blank-lines"),
        pytest.param(GOOD[2].replace(b"hi", b"\xc3\xa4") + b"\n", 7, 0, id="not-ascii"),
        pytest.param(GOOD[2].replace(b"hi", b"\xff") + b"\n", 7, 1, id="not-utf-8"),
        pytest.param(GOOD[2].replace(b"hi", b"\\ud800") + b"\n", 7, 0, id="a-lone-surrogate"),
        pytest.param(GOOD[2].replace(b"[{", b"[1, {") + b"\n", 7, 0, id="a-message-that-is-none"),
        pytest.param(GOOD[2].replace(b"[{", b"[" * 3000 + b"{") + b"\n", 7, 1, id="too-deep"),
        pytest.param(GOOD[2].replace(b"}]", b"},]") + b"\n", 7, 1, id="a-comma-too-many"),
        pytest.param(GOOD[2].replace(b"[{", b"[1 {") + b"\n", 7, 1, id="a-comma-too-few"),
        pytest.param(GOOD[2].replace(b"[{", b"[,{") + b"\n", 7, 1, id="a-comma-first"),
        pytest.param(GOOD[2].replace(b"hi", b"\x01") + b"\n", 7, 1, id="a-control-character"),
        pytest.param(GOOD[1] + b"\n", 7, 1, id="an-id-again"),
        pytest.param(GOOD[2].replace(b"hi", b"x" * 4000) + b"\n", 7, 1, id="too-long"),
    ],
)
@pytest.mark.parametrize("few", [1, 16 * 1024])
def test_an_odd_line_among_usual_ones_is_seen_alone(
    monkeypatch: pytest.MonkeyPatch, odd: bytes, lines: int, faults: int, few: int
) -> None:
    monkeypatch.setattr(module, "_FEW_BYTES", few)
    usual = GOOD[:2], GOOD[4:]
    data = b"\n".join(usual[0]) + b"\n" + odd + b"\n".join(usual[1]) + b"\n"
    check = compare(data, RULES, len(data))
    assert (check.lines, check.faults) == (lines, faults)


def test_usual_lines_are_not_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    check, cutter = FileCheck(RULES), LineCutter(4000)
    data = b"\r\n".join(GOOD) + b"\r\n"
    assert [len(stretch.ends) for stretch in check.check_chunk(cutter, data[:300])] == [1, 1]
    monkeypatch.setattr(check, "check", lambda raw: pytest.fail(f"line {raw.number}"))
    # all but the line that began in the chunk before
    rest = data[data.index(b"\n", 300) + 1 :]
    cutter = LineCutter(4000, start=len(data) - len(rest), first_line=4)
    (stretch,) = check.check_chunk(cutter, rest)
    assert [number for number, *_ in places(stretch)] == [4, 5, 6, 7, 8]
    assert check.lines == 7
