"""A batch that is under way moves to other stores, and goes on there as if nothing had happened."""

import asyncio
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import postgres_server
import pytest
from bucket_server import new_place
from engine_fakes import FakeClock
from engine_house import House, open_house, open_mock, settings_for, some_lines
from engine_money import PRICES, check_bill
from sqlalchemy import select

from batchmill.blobs.local import LocalBlobs
from batchmill.blobs.remote_writer import RemoteWriter
from batchmill.blobs.writer import LocalWriter
from batchmill.config import Settings
from batchmill.domain import ids
from batchmill.domain.account import Role
from batchmill.domain.batch import Batch, Counts, Status
from batchmill.domain.errors import ConfigError, Conflict
from batchmill.journal.local import LocalJournal, LocalSegment
from batchmill.journal.object_segment import ObjectSegment
from batchmill.ports import BatchQuery, Idempotency, Settled
from batchmill.ports.moving import Stage, Weight
from batchmill.service.administration import make_administration
from batchmill.service.caller import MACHINE, Caller
from batchmill.service.identity import Identity
from batchmill.service.keys import KeySpec
from batchmill.service.moving import Freight
from batchmill.store import SqlStore
from batchmill.store.tables import files
from batchmill.store.transfer import MOVED, SqlRowMove
from batchmill.upstream.mock import MockUpstream
from batchmill.upstream.mock import Script as Upstream
from batchmill.wiring.moved import FolderLog, assert_serves, read_moves
from batchmill.wiring.moving import open_mover, plan_move, settle, weigh_move
from batchmill.wiring.parts import Paths, open_parts

LINES = 60
FEW = ("folder", "postgresql and s3")
TARGETS = (*FEW, *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("postgresql", "s3")))


class Watch:
    """Adds up what it is told."""

    def __init__(self) -> None:
        self.totals: dict[Stage, int] = {}
        self.seen: Counter[Stage] = Counter()

    def begin(self, stage: Stage, total: int) -> None:
        self.totals[stage] = total
        self._stage = stage

    def advance(self, amount: int) -> None:
        self.seen[self._stage] += amount


@contextmanager
def target(kind: str, folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The data folder to serve from afterwards, and what else ``[data]`` is to say."""
    if kind == "folder":
        yield folder / "new", {}
        return
    data: dict[str, Any] = {}
    if "s3" in kind:
        place = new_place()
        data |= {"blobs": place.url, "blob_options": dict(place.options)}
    if "postgresql" in kind:
        with postgres_server.database(migrated=False) as url:
            yield folder / "old", {**data, "database": url}
    else:
        yield folder / "old", data


async def move(settings: Settings, source: Path, **options: Any) -> Freight:
    """Move as the verb does."""
    plan = plan_move(settings, source)
    await settle(plan)
    async with open_mover(plan, Watch(), **options) as mover:
        return await mover.run()


@dataclass
class Left:
    """What a server left when it was stopped: a batch that has ended, and one half of which has."""

    fresh: Batch
    done: Batch
    output: bytes
    half: Batch
    secret: str


ONCE = Idempotency("once", "fingerprint")
ASKED = some_lines(LINES)


async def leave_half_done(house: House, mock: MockUpstream) -> Left:
    """Work until half of the lines are answered, and stop as a server does that is told to."""
    fresh = await house.submit(some_lines(7))
    done = await house.until(fresh)
    admin = make_administration(house.rows, house.clock)
    made = await admin.keys.create(Caller(actor=MACHINE), KeySpec("of old"))
    file = await house.upload(ASKED)
    half = another(fresh, input_file_id=file.id)
    await house.rows.batches.create(half, ONCE, ())
    house.engine.wake()
    await mock.wait_for_hits(7 + LINES // 2)
    house.grace = 1000.0
    await house.stop()
    assert (await house.get(half)).status is Status.IN_PROGRESS
    return Left(fresh, done, await house.read(done, done.output_file_id), half, made.secret)


def another(batch: Batch, **changes: Any) -> Batch:
    return replace(batch, id=ids.batch_id(secrets.token_bytes(16)), **changes)


async def check_all_is_there(house: House, mock: MockUpstream, left: Left) -> None:
    """The batch goes on, and everything else is as it was."""
    ended = await house.until(left.half)
    assert (ended.status, ended.counts) == (Status.COMPLETED, Counts(LINES, LINES, 0))
    assert len(mock.hits) == 7 + LINES
    assert set(mock.hits.values()) == {1}, "nothing is sent again"
    await check_bill(house, ended, ASKED)
    assert await house.get(left.done) == left.done
    assert await house.read(left.done, left.done.output_file_id) == left.output
    caller = await Identity(store=house.rows, clock=house.clock).identify(left.secret)
    assert caller.role is Role.MEMBER
    same = await house.rows.batches.create(another(left.fresh), ONCE, ())
    assert same.id == left.half.id
    after = await house.until(await house.submit(some_lines(3)))
    assert after.counts == Counts(3, 3, 0)
    listed = await house.rows.batches.list("acme", BatchQuery(limit=10))
    assert listed.items[0].id == after.id


@pytest.mark.parametrize("kind", TARGETS)
def test_a_batch_under_way_moves_and_nothing_of_it_is_sent_again(kind: str, tmp_path: Path) -> None:
    async def main(folder: Path, data: dict[str, Any]) -> None:
        clock, old = FakeClock(), tmp_path / "old"
        async with open_mock(Upstream(slots=4)) as (mock, url):
            options: dict[str, Any] = {"prices": PRICES, "clock": clock, "max_in_flight": 4}
            async with open_house(old, url, **options) as house:
                left = await leave_half_done(house, mock)
            settings = settings_for(folder, [url], data=data)
            freight = await move(settings, old)
            assert freight.rows is None or freight.rows["batches"] == 2
            assert freight.blobs is None or freight.blobs.count == 3
            assert freight.journals is None or freight.journals.count >= 3
            with pytest.raises(ConfigError, match=r"moved to .* on "):
                assert_serves(settings_for(old, [url]))
            assert_serves(settings)
            async with open_house(folder, url, data=data, **options) as house:
                await check_all_is_there(house, mock, left)
                await house.stop()
                assert await house.parts.journal.held() == []

    with target(kind, tmp_path) as (folder, data):
        asyncio.run(main(folder, data))


def test_where_a_move_was_cut_off_the_old_server_goes_on_and_can_be_moved_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(folder: Path, data: dict[str, Any]) -> None:
        clock, old = FakeClock(), tmp_path / "old"
        async with open_mock(Upstream(slots=4)) as (mock, url):
            options: dict[str, Any] = {"prices": PRICES, "clock": clock, "max_in_flight": 4}
            async with open_house(old, url, **options) as house:
                left = await leave_half_done(house, mock)
            settings = settings_for(folder, [url], data=data)
            with monkeypatch.context() as patch:
                Break(SqlRowMove, "copy", after=True).arm(patch)
                with pytest.raises(Cut):
                    await move(settings, old)
            assert_serves(settings_for(old, [url]))
            async with open_house(old, url, **options) as house:
                house.grace = 1000.0
                await mock.wait_for_hits(7 + LINES * 3 // 4)
            await move(settings, old)
            async with open_house(folder, url, data=data, **options) as house:
                await check_all_is_there(house, mock, left)

    with target("folder", tmp_path) as (folder, data):
        asyncio.run(main(folder, data))


# --- a cut at every step ---


class Cut(Exception):
    """The power fails here."""


@dataclass
class Break:
    """The ``nth`` call of a method does not come back, before it has begun or ``after`` it."""

    owner: type
    name: str
    nth: int = 1
    after: bool = False

    def arm(self, patch: pytest.MonkeyPatch) -> None:
        original = getattr(self.owner, self.name)
        calls = 0

        async def broken(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            is_cut = calls == self.nth
            if is_cut and not self.after:
                raise Cut
            result = await original(*args, **options)
            if is_cut:
                raise Cut
            return result

        patch.setattr(self.owner, self.name, broken)

    def __str__(self) -> str:
        when = "after" if self.after else "before"
        return f"{when} {self.owner.__name__}.{self.name} {self.nth}"


BREAKS = (
    Break(SqlRowMove, "check"),
    Break(FolderLog, "begin"),
    Break(FolderLog, "begin", after=True),
    Break(LocalBlobs, "create", 2),
    Break(LocalWriter, "commit", 2),
    Break(LocalWriter, "commit", 3, after=True),
    Break(LocalJournal, "open", 2),
    Break(LocalSegment, "close", 2, after=True),
    Break(SqlRowMove, "copy"),
    Break(SqlRowMove, "copy", after=True),
    Break(FolderLog, "end"),
    Break(FolderLog, "end", after=True),
    Break(SqlRowMove, "release", after=True),
)
REMOTE_BREAKS = (
    Break(RemoteWriter, "commit", 2, after=True),
    Break(ObjectSegment, "close", 2, after=True),
    Break(SqlRowMove, "copy", after=True),
    Break(FolderLog, "end", after=True),
)


@pytest.fixture(scope="module")
def half_done_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that a server was stopped over, with a batch half done."""
    folder = tmp_path_factory.mktemp("moved") / "old"

    async def main() -> None:
        async with (
            open_mock(Upstream(slots=4)) as (mock, url),
            open_house(folder, url, prices=PRICES, max_in_flight=4) as house,
        ):
            await leave_half_done(house, mock)

    asyncio.run(main())
    return folder


@dataclass
class Contents:
    """Everything that a set of stores holds."""

    rows: dict[str, list[Any]]
    blobs: dict[str, bytes]
    journals: dict[tuple[str, int], Settled]


async def read_all(settings: Settings) -> Contents:
    async with open_parts(settings) as parts:
        store = parts.store
        assert isinstance(store, SqlStore)
        async with store._database.read() as connection:
            rows = {
                table.name: [
                    tuple(row)
                    for row in await connection.execute(select(table).order_by(*table.primary_key))
                ]
                for table in MOVED
            }
            keys = (await connection.execute(select(files.c.blob))).scalars().all()
        blobs = {key: b"".join([part async for part in parts.blobs.read(key)]) for key in keys}
        journals = {
            (batch.id, shard.index): await parts.journal.read(batch.id, shard.index)
            for batch in await store.batches.unfinished()
            for shard in await store.shards.of_batch(batch.id)
        }
    return Contents({name: sorted(of, key=repr) for name, of in rows.items()}, blobs, journals)


def snapshot(folder: Path) -> dict[str, bytes]:
    """The files and journals of a data folder."""
    kept = (Paths(folder).blobs, Paths(folder).journal)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for root in kept
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".partial" not in path.parts
    }


OFTEN = {"commit", "close", "copy", "end"}
CASES = (
    *(
        pytest.param("folder", one, marks=() if one.name in OFTEN else pytest.mark.slow)
        for one in BREAKS
    ),
    *(pytest.param(FEW[1], one, marks=pytest.mark.slow) for one in REMOTE_BREAKS),
)


@pytest.mark.parametrize(("kind", "cut"), CASES, ids=lambda value: str(value).replace(" ", "-"))
def test_a_move_that_is_cut_off_leaves_the_source_and_is_made_again(
    kind: str,
    cut: Break,
    half_done_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = tmp_path / "old"
    shutil.copytree(half_done_folder, old)
    source = settings_for(old, [])

    async def main(settings: Settings) -> None:
        rows_before, bytes_before = await read_all(source), snapshot(old)
        with monkeypatch.context() as patch:
            cut.arm(patch)
            with pytest.raises(Cut):
                await move(settings, old)
        assert snapshot(old) == bytes_before
        assert await read_all(source) == rows_before
        moves = read_moves(old)
        if moves and all(step.ended_at for step in moves.values()):
            with pytest.raises(ConfigError, match="moved to"):
                assert_serves(source)
            await settle(plan_move(settings, old))
        else:
            assert_serves(source)
            if kind != "folder" and moves:
                with pytest.raises(ConfigError, match="cut off"):
                    assert_serves(settings)
            await assert_cannot_be_used(settings)
            await move(settings, old)
        assert await read_all(settings) == rows_before
        assert snapshot(old) == bytes_before
        with pytest.raises(ConfigError, match="moved to"):
            assert_serves(source)

    with target(kind, tmp_path) as (folder, data):
        asyncio.run(main(settings_for(folder, [], data=data)))


async def assert_cannot_be_used(settings: Settings) -> None:
    """The target's database is empty, or it does not open at all."""
    refusal = ""
    try:
        assert (await read_all(settings)).rows["batches"] == []
    except ConfigError as error:
        refusal = error.message
    assert not refusal or "batchmill move" in refusal


# --- what is not moved ---


def test_a_file_whose_bytes_are_lost_or_damaged_is_named_and_may_be_left(
    half_done_folder: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(half_done_folder, old)
    settings = settings_for(tmp_path / "new", [])

    async def main() -> None:
        found = await read_all(settings_for(old, []))
        lost, damaged, _ = sorted(found.blobs)
        (Paths(old).blobs / lost).unlink()
        (Paths(old).blobs / damaged).write_bytes(b"x" * len(found.blobs[damaged]))
        with pytest.raises(Conflict, match=r"digest.*--leave-damaged"):
            await move(settings, old)
        assert_serves(settings_for(old, []))
        freight = await move(settings, old, leave_damaged=True)
        assert {one.what for one in freight.left} == {
            "its bytes are missing",
            "its bytes have another digest",
        }
        assert freight.present is not None
        assert freight.present.count == 1

    asyncio.run(main())


def test_results_that_only_the_target_has_are_never_removed(
    half_done_folder: Path, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(half_done_folder, old)
    shutil.copytree(Paths(half_done_folder).journal, Paths(new).journal)
    (path, *_) = sorted(Paths(old).journal.rglob("*.log"))
    path.write_bytes(b"")

    async def main() -> None:
        before = snapshot(new)
        with pytest.raises(Conflict, match="in use already"):
            await move(settings_for(new, []), old)
        assert {key: data for key, data in snapshot(new).items() if key in before} == before

    asyncio.run(main())


def test_what_there_is_to_move_is_said_and_nothing_is_moved(
    half_done_folder: Path, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(half_done_folder, old)

    async def main() -> None:
        found = await read_all(settings_for(old, []))
        freight = await weigh_move(plan_move(settings_for(new, []), old))
        assert freight.rows == {name: len(rows) for name, rows in found.rows.items()}
        assert freight.blobs == Weight(3, sum(map(len, found.blobs.values())))
        begun = [one for one in found.journals.values() if one.records]
        lines = [record.line for one in begun for record in one.records.values()]
        assert freight.journals is not None
        assert freight.journals.bytes == sum(map(len, lines)) > 0
        assert len(begun) <= freight.journals.count <= len(found.journals)

    asyncio.run(main())
    assert not new.exists()
    assert read_moves(old) == {}


def test_progress_adds_up_to_what_was_announced(half_done_folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(half_done_folder, old)
    watch = Watch()

    async def main() -> None:
        async with open_mover(plan_move(settings_for(tmp_path / "new", []), old), watch) as mover:
            await mover.run()

    asyncio.run(main())
    assert set(watch.totals) == set(Stage)
    assert watch.seen == watch.totals


def test_rows_move_first_and_bytes_later(half_done_folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(half_done_folder, old)
    place = new_place()
    bucket = {"blobs": place.url, "blob_options": dict(place.options)}

    async def main(url: str) -> None:
        before = await read_all(settings_for(old, []))
        first = await move(settings_for(old, [], data={"database": url}), old)
        assert (first.blobs, first.journals) == (None, None)
        both = settings_for(old, [], data={"database": url, **bucket})
        second = await move(both, old)
        assert second.rows is None
        assert second.blobs is not None
        assert second.blobs.count == 3
        assert await read_all(both) == before
        assert plan_move(both, old).is_settled()
        with pytest.raises(ConfigError, match="moved to"):
            assert_serves(settings_for(old, [], data={"database": url}))

    with postgres_server.database() as url:
        asyncio.run(main(url))
