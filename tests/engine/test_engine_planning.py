"""Planning a large file: read in turns of a thread, it gives what it gives chunk by chunk."""

import asyncio
import os
import threading
from io import FileIO
from pathlib import Path
from typing import Any, cast

import pytest
from engine_house import House, a_line, a_planner, open_house, some_lines

from batchmill.domain.batch import Batch
from batchmill.domain.lines import LineCutter
from batchmill.engine import planning

URL = "http://127.0.0.1:9"
MIXED: list[dict[str, Any] | bytes] = [
    *some_lines(12),
    b"",
    b" \r",
    a_line(13, note="x" * 2000),
    *[a_line(number) for number in range(14, 30)],
]


async def outcome(house: House, batch: Batch) -> tuple[Any, ...]:
    """What was planned, and what the store has of it."""
    plan = await a_planner(house).plan(batch)
    after = await house.get(batch)
    shards = [] if plan is None else plan.shards
    cut = [(one.start, one.end, one.first_line, one.lines, one.models) for one in shards]
    return cut, after.status, after.counts, after.errors


def test_a_line_that_goes_on_is_read_on_in_larger_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "PIECE_BYTES", 4)
    monkeypatch.setattr(planning, "LONG_PIECE_BYTES", 8)
    path, cutter, pieces = tmp_path / "file", LineCutter(100), list[bytes]()
    path.write_bytes(b"abc\nde\nfghijklmnopqrstu\nv")
    with path.open("rb") as file:
        while piece := planning.next_piece(file.fileno(), cutter):
            pieces.append(piece)
            cutter.feed(piece)
    assert pieces == [b"abc\n", b"de\nf", b"ghijklmn", b"opqrstu\n", b"v"]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(MIXED, id="good"),
        pytest.param([*MIXED, b"{", a_line(1), *some_lines(3)], id="with-faults"),
        pytest.param([b"\xef\xbb\xbf" + b"x" * 1000], id="one-bad-line"),
    ],
)
def test_a_file_that_is_read_in_turns_is_planned_as_one_that_comes_in_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any] | bytes]
) -> None:
    monkeypatch.setattr(planning, "PIECE_BYTES", 400)
    monkeypatch.setattr(planning, "LONG_PIECE_BYTES", 700)
    monkeypatch.setattr(planning, "LEAVE_BYTES", 100)
    monkeypatch.setattr(planning, "_TURN_BYTES", 1000)

    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            file = await house.upload(lines)
            calls, found = house.script.calls, []
            for opened in (0, 1):
                monkeypatch.setattr(planning, "_AT_ONCE_BYTES", file.bytes - opened)
                found.append(await outcome(house, await house.create(file.id)))
                assert (calls["blobs.read"], calls["blobs.open"]) == (1, opened)
            assert found[0] == found[1]

    asyncio.run(main())


def test_whoever_stops_waiting_leaves_the_file_open_until_the_turn_is_over(tmp_path: Path) -> None:
    class Slow:
        """Reads until it is let go, and notes what is left of the file then."""

        def __init__(self) -> None:
            self.let_go = threading.Event()
            self.read: bytes | None = None

        def read_on(self, fd: int) -> bool:
            loop.call_soon_threadsafe(begun.set)
            self.let_go.wait()
            self.read = os.pread(fd, 10, 0)
            return True

    class Watched(FileIO):
        def close(self) -> None:
            super().close()
            closed.set()

    async def main() -> None:
        slow, file = Slow(), Watched(source)
        reading = cast("planning._Reading", slow)
        waiting = asyncio.create_task(planning._read_in_turns(file, reading))
        await begun.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        assert not file.closed
        slow.let_go.set()
        await closed.wait()
        assert slow.read == b"what it is"

    source = tmp_path / "file"
    source.write_bytes(b"what it is")
    begun, closed = asyncio.Event(), asyncio.Event()
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        runner.run(main())
