"""Cutting files into shards: they tile the file, in order, within their limits."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.catalog import Catalog
from batchmill.domain.limits import Limits, Profile
from batchmill.domain.lines import FileCheck, Line, LineCutter, LineRules, Stretch
from batchmill.domain.shards import Shard, ShardCutter, ShardStatus, lines_for

RULES = LineRules("/v1/rerank", Catalog(accepts_any=True), Profile.QWEN, Limits(), True)
LIMIT = RULES.limits.max_line_bytes


def request(custom_id: int, pad: int, model: str) -> bytes:
    body = {"model": model, "pad": "x" * pad}
    line = {"custom_id": str(custom_id), "method": "POST", "url": "/v1/rerank", "body": body}
    return json.dumps(line).encode()


noise = st.sampled_from([b"", b"", b"\n", b"  \r\n\n", b"broken\n"])


@st.composite
def files(draw: st.DrawFn) -> bytes:
    count = draw(st.integers(0, 12))
    parts = [draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))]
    for i in range(count):
        model = draw(st.sampled_from(["a", "b"]))
        parts += [draw(noise), request(i, draw(st.integers(0, 300)), model), b"\n"]
    parts.append(draw(noise))
    return b"".join(parts)


def lines_of(data: bytes, chunk: int) -> list[Line]:
    cutter, check = LineCutter(LIMIT), FileCheck(RULES)
    raws = [raw for i in range(0, len(data), chunk) for raw in cutter.feed(data[i : i + chunk])]
    found = (check.check(raw) for raw in raws + cutter.finish())
    return [line for line in found if line is not None]


def cut(data: bytes, *, max_lines: int, max_bytes: int, chunk: int = 1 << 20) -> list[Shard]:
    lines, check = LineCutter(LIMIT), FileCheck(RULES)
    cutter = ShardCutter("batch_1", max_lines=lambda _: max_lines, max_bytes=max_bytes)
    found = [lines.feed(data[at : at + chunk]) for at in range(0, len(data), chunk)]
    stretches = [stretch for raws in [*found, lines.finish()] for stretch in check.check_all(raws)]
    shards = [shard for stretch in stretches for shard in cutter.extend(stretch)]
    last = cutter.finish(len(data))
    return shards if last is None else [*shards, last]


@given(files(), st.integers(1, 5), st.integers(1, 1500), st.integers(1, 700))
def test_shards_tile_the_file_in_order_and_keep_every_line(
    data: bytes, max_lines: int, max_bytes: int, chunk: int
) -> None:
    shards = cut(data, max_lines=max_lines, max_bytes=max_bytes)
    lines = lines_of(data, len(data) + 1)
    assert shards == cut(data, max_lines=max_lines, max_bytes=max_bytes, chunk=chunk)
    assert bool(shards) is bool(lines)
    if shards:
        edges = [shard.start for shard in shards] + [shards[-1].end]
        assert edges == [0, *(shard.end for shard in shards)]
        assert edges[-1] == len(data)
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert sum(shard.lines for shard in shards) == len(lines)
    for shard in shards:
        inside = [line for line in lines if shard.start <= line.start < shard.end]
        assert len(inside) == shard.lines <= max_lines
        assert inside[-1].end <= shard.end
        assert shard.lines == 1 or inside[-1].end - shard.start <= max_bytes
        assert shard.models == tuple(dict.fromkeys(line.model for line in inside))


@given(files(), st.integers(1, 4))
def test_a_shard_read_alone_gives_the_lines_with_their_own_numbers(
    data: bytes, max_lines: int
) -> None:
    lines = {line.number: line for line in lines_of(data, 1 << 20)}
    read = []
    for shard in cut(data, max_lines=max_lines, max_bytes=10_000):
        cutter = LineCutter(LIMIT, start=shard.start, first_line=shard.first_line)
        raws = cutter.feed(data[shard.start : shard.end]) + cutter.finish()
        read += [(raw.number, raw.start, raw.end) for raw in raws if raw.number in lines]
    assert read == [(line.number, line.start, line.end) for line in lines.values()]


def lines(number: int, start: int, *ends: int) -> Stretch:
    return Stretch(number, start, list(ends), ["m"] * len(ends))


def test_a_shard_is_cut_on_both_sides_of_its_limits() -> None:
    by_lines = ShardCutter("b", max_lines=lambda _: 2, max_bytes=1000)
    assert by_lines.extend(lines(1, 0, 10)) == []
    assert by_lines.extend(lines(2, 10, 20)) == []
    assert by_lines.extend(lines(5, 25, 30)) == [Shard("b", 0, 0, 20, 1, 2, ("m",))]
    assert by_lines.finish(33) == Shard("b", 1, 20, 33, 3, 1, ("m",))
    by_bytes = ShardCutter("b", max_lines=lambda _: 9, max_bytes=20)
    assert by_bytes.extend(lines(1, 0, 10)) == []
    assert by_bytes.extend(lines(2, 10, 20)) == []
    assert by_bytes.extend(lines(3, 20, 60)) == [Shard("b", 0, 0, 20, 1, 2, ("m",))]
    assert by_bytes.extend(lines(4, 60, 61)) == [Shard("b", 1, 20, 60, 3, 1, ("m",))]


def test_a_shard_is_as_large_as_its_first_lines_model_allows() -> None:
    cutter = ShardCutter("b", max_lines={"m": 3, "n": 1}.__getitem__, max_bytes=1000)
    stretch = Stretch(1, 0, [10, 20, 30, 40, 50, 60], ["m", "n", "n", "n", "m", "m"])
    shards = [*cutter.extend(stretch), cutter.finish(60)]
    assert [(one.lines, one.models) for one in shards if one is not None] == [
        (3, ("m", "n")),
        (1, ("n",)),
        (2, ("m",)),
    ]


@pytest.mark.parametrize(
    ("slots", "lines"), [(0, 500), (62, 500), (63, 504), (249, 1992), (250, 2000), (251, 2000)]
)
def test_a_shard_is_worth_eight_rounds_of_the_slots(slots: int, lines: int) -> None:
    assert lines_for(slots, 2000) == lines


def test_no_shard_is_larger_than_it_may_be() -> None:
    assert [lines_for(slots, 400) for slots in (0, 1000)] == [400, 400]


def test_a_stretch_is_cut_into_as_many_shards_as_it_fills() -> None:
    cutter = ShardCutter("b", max_lines=lambda _: 2, max_bytes=20)
    assert cutter.extend(lines(1, 0)) == []
    assert cutter.extend(lines(1, 0, 10, 20, 30, 70, 71)) == [
        Shard("b", 0, 0, 20, 1, 2, ("m",)),
        Shard("b", 1, 20, 30, 3, 1, ("m",)),
        Shard("b", 2, 30, 70, 4, 1, ("m",)),
    ]
    assert cutter.extend(lines(6, 71, 72)) == []
    assert cutter.finish(80) == Shard("b", 3, 70, 80, 5, 2, ("m",))


def test_a_file_without_lines_has_no_shard_and_a_new_shard_waits() -> None:
    cutter = ShardCutter("b", max_lines=lambda _: 2, max_bytes=10)
    assert cutter.finish(100) is None
    cutter.extend(lines(1, 0, 5))
    shard = cutter.finish(100)
    assert shard is not None
    assert (shard.status, shard.attempt) == (ShardStatus.WAITING, 0)
