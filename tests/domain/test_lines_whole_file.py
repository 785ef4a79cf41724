"""Checking all lines at once: the short way finds what checking one after the other finds."""

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.catalog import Catalog
from batchmill.domain.limits import Limits, Profile
from batchmill.domain.lines import FileCheck, LineCutter, LineRules

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


@given(texts, rules, st.integers(1, 300))
def test_both_ways_find_the_same_lines_and_faults(data: bytes, asked: LineRules, cut: int) -> None:
    single, together = FileCheck(asked), FileCheck(asked)
    cutter, other = LineCutter(LIMITS.max_line_bytes), LineCutter(LIMITS.max_line_bytes)
    raws = cutter.feed(data) + cutter.finish()
    wanted = [line for raw in raws if (line := single.check(raw)) is not None]
    found = []
    for at in range(0, len(data), cut):
        found += together.check_all(other.cut(data[at : at + cut]))
    found += together.check_all(other.finish())
    assert found == wanted
    assert told(together) == told(single)
