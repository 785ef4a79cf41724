"""What late twins write is never read: a worker that was frozen, replaced, and thawed."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from bucket_server import new_place
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_cases import BATCH, Heard, a_record, a_shard, written
from obstore.store import ObjectStore

from batchmill.blobs.bucket import open_bucket
from batchmill.journal.extent import Listing, part_key, shard_folder
from batchmill.journal.object_segment import ObjectSegment
from batchmill.journal.objects import ObjectJournal
from batchmill.ports import Record, Settled

KINDS: dict[str, Callable[[], ObjectStore]] = {
    "memory": lambda: open_bucket("memory://", {}),
    "s3": lambda: new_place().open(),
}


def with_bucket(test: Callable[[ObjectJournal], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test once with an empty journal in each kind of bucket."""

    async def main(bucket: ObjectStore) -> None:
        journal = ObjectJournal(bucket, interval=0.0)
        try:
            await test(journal)
        finally:
            await journal.close()

    @pytest.mark.parametrize("kind", sorted(KINDS))
    def run(kind: str) -> None:
        asyncio.run(main(KINDS[kind]()))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def lines(settled: Settled) -> dict[int, bytes]:
    return {number: record.line for number, record in settled.records.items()}


async def add(segment: ObjectSegment, heard: Heard, *records: Record) -> None:
    """Append, and return when it is durable."""
    there = len(heard.numbers)
    for record in records:
        segment.append(record)
    await heard.until(there + len(records))


@with_bucket
async def test_what_a_twin_writes_after_the_next_attempt_began_is_not_read(
    journal: ObjectJournal,
) -> None:
    heard = Heard()
    frozen = await journal.open(a_shard(attempt=1), heard)
    await add(frozen, heard, a_record(1))
    new = await journal.open(a_shard(attempt=2), Heard(), await journal.read(BATCH, 0))
    await add(frozen, heard, a_record(2, line=b"late"), a_record(3))
    new.append(a_record(2, line=b"new"))
    await new.close()
    await frozen.close()
    assert lines(await journal.read(BATCH, 0)) == {1: a_record(1).line, 2: b"new"}


@with_bucket
async def test_what_lands_between_reading_and_beginning_is_late_too(
    journal: ObjectJournal,
) -> None:
    """The attempt sends those lines again, so theirs must be the result that counts."""
    heard = Heard()
    frozen = await journal.open(a_shard(attempt=1), heard)
    await add(frozen, heard, a_record(1))
    before = await journal.read(BATCH, 0)
    await add(frozen, heard, a_record(2, line=b"late"))
    new = await journal.open(a_shard(attempt=2), Heard(), before)
    assert set((await journal.read(BATCH, 0)).records) == {1}
    new.append(a_record(2, line=b"new"))
    await new.close()
    assert lines(await journal.read(BATCH, 0))[2] == b"new"
    await frozen.close()


@with_bucket
async def test_an_attempt_that_begins_late_changes_nothing(journal: ObjectJournal) -> None:
    """It slept between reading and beginning, and a later one has begun and ended."""
    await written(journal, a_shard(attempt=1), [a_record(1)])
    before = await journal.read(BATCH, 0)
    await written(journal, a_shard(attempt=3), [a_record(2)])
    await written(journal, a_shard(attempt=2), [a_record(2, line=b"late"), a_record(3)])
    late = await journal.open(a_shard(attempt=4), Heard(), before)
    await late.close()
    assert set((await journal.read(BATCH, 0)).records) == {1}, "what the newest has read counts"


@with_bucket
async def test_attempts_that_wrote_nothing_are_passed_over(journal: ObjectJournal) -> None:
    await written(journal, a_shard(attempt=2), [])
    await written(journal, a_shard(attempt=3), [a_record(1)])
    await written(journal, a_shard(attempt=7), [])
    settled = await journal.read(BATCH, 0)
    assert (set(settled.records), settled.source) == ({1}, ((3, 1),))


@with_bucket
async def test_an_attempt_begins_once_whoever_begins_it(journal: ObjectJournal) -> None:
    """Two dispatchers, or a restart that forgot: the second is refused before it sends a line."""
    heard = Heard()
    first = await journal.open(a_shard(attempt=2), heard)
    with pytest.raises(FileExistsError):
        await journal.open(a_shard(attempt=2), Heard())
    await add(first, heard, a_record(1))
    await first.close()
    assert set((await journal.read(BATCH, 0)).records) == {1}


@with_bucket
async def test_a_seal_shuts_out_every_attempt(journal: ObjectJournal) -> None:
    heard = Heard()
    frozen = await journal.open(a_shard(attempt=2), heard)
    await add(frozen, heard, a_record(1))
    sealed = await journal.seal(BATCH)
    await add(frozen, heard, a_record(2))
    await written(journal, a_shard(attempt=3), [a_record(3)])
    await written(journal, a_shard(index=1), [a_record(4)])
    again = await journal.seal(BATCH)
    for one in (sealed, again):
        assert set((await one.read(0)).records) == {1}
        assert set((await one.read(1)).records) == set()
        assert await one.stands()
    await frozen.close()


@with_bucket
async def test_who_reads_under_a_seal_hears_that_the_journal_was_dropped(
    journal: ObjectJournal,
) -> None:
    """A dispatcher that slept while another delivered must not deliver the emptiness."""
    await written(journal, a_shard(), [a_record(1)])
    sealed = await journal.seal(BATCH)
    await journal.drop(BATCH)
    assert not await sealed.stands()
    await journal.seal(BATCH)
    assert not await sealed.stands(), "another seal is not the one that was read under"


def test_what_comes_after_a_gap_in_a_listing_does_not_count() -> None:
    """A listing may show a part that was written while it went on, and miss the one before."""
    listing = Listing()
    for name in ("000001.head", "000001.000001.log", "000001.000003.log", "seal", "junk"):
        listing.note(name)
    assert listing.reach(()) == ((1, 1),)


def test_without_a_head_nothing_counts() -> None:
    listing = Listing()
    listing.note("000001.000001.log")
    assert (listing.newest, listing.reach(())) == (None, ())


def test_keys_sort_in_the_order_of_writing() -> None:
    keys = [part_key(BATCH, 7, attempt, part) for attempt in (1, 2, 10) for part in (1, 2, 10)]
    assert keys == sorted(keys)
    assert all(key.startswith(f"{shard_folder(BATCH, 7)}/") for key in keys)


# --- any order of any number of twins ---


@dataclass
class Twin:
    """One attempt's life: it reads, begins, writes; it may sleep between any two of these."""

    attempt: int
    before: Settled | None = None
    segment: ObjectSegment | None = None
    heard: Heard = field(default_factory=Heard)
    wrote: set[int] = field(default_factory=set)


steps = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6)), max_size=24)


@settings(max_examples=150)
@given(steps)
def test_in_any_order_of_twins_the_newest_has_its_own_and_what_it_read(
    order: list[tuple[int, int]],
) -> None:
    """Each step moves one twin on: reading, beginning, then a record per step.

    A reader never sees a record that landed after the newest attempt had read,
    unless it is that attempt's own; and sees all those it was told of.
    """

    async def main() -> None:
        journal = ObjectJournal(open_bucket("memory://", {}), interval=0.0)
        twins = [Twin(attempt) for attempt in (1, 2, 3)]
        for which, number in order:
            twin = twins[which]
            if twin.before is None:
                twin.before = await journal.read(BATCH, 0)
            elif twin.segment is None:
                shard = a_shard(attempt=twin.attempt)
                twin.segment = await journal.open(shard, twin.heard, twin.before)
            elif number not in twin.wrote:
                twin.wrote.add(number)
                await add(twin.segment, twin.heard, a_record(number, line=b"%d" % twin.attempt))
            await check(journal, twins)
        await journal.close()

    asyncio.run(main())


async def check(journal: ObjectJournal, twins: list[Twin]) -> None:
    begun = [twin for twin in twins if twin.segment is not None]
    found = lines(await journal.read(BATCH, 0))
    if not begun:
        assert found == {}
        return
    newest = begun[-1]
    assert newest.before is not None
    own = dict.fromkeys(newest.heard.numbers, b"%d" % newest.attempt)
    assert found == {**own, **lines(newest.before)}
