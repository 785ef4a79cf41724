"""The folder of a batch: what is known of it without looking, and what must be looked for."""

from pathlib import Path

import pytest
from journal_cases import BATCH, a_record, a_shard, segment_path, with_journal, written

from batchmill.journal.batch_folder import NAMES_HELD
from batchmill.journal.local import LocalJournal


async def sealed_numbers(journal: LocalJournal, shards: int) -> list[int]:
    sealed = await journal.seal(BATCH)
    return [n for index in range(shards) for n in (await sealed.read(index)).records]


@pytest.mark.parametrize("shards", [1, NAMES_HELD, NAMES_HELD + 1])
def test_all_shards_are_found_and_removed_however_many_there_are(
    tmp_path: Path, shards: int
) -> None:
    @with_journal
    async def check(journal: LocalJournal, root: Path) -> None:
        for index in range(shards):
            await written(journal, a_shard(index), [a_record(index + 1)])
        assert await sealed_numbers(journal, shards) == list(range(1, shards + 1))
        await journal.drop(BATCH)
        assert await journal.held() == []
        assert await sealed_numbers(journal, shards) == []

    check(tmp_path)


@with_journal
async def test_later_attempts_at_a_shard_are_read_with_the_first(
    journal: LocalJournal, root: Path
) -> None:
    for attempt, number in ((1, 5), (2, 6), (3, 7)):
        await written(journal, a_shard(0, attempt=attempt), [a_record(number)])
    assert await sealed_numbers(journal, 1) == [5, 6, 7]


@with_journal
async def test_what_was_there_before_is_read_and_removed_as_well(
    journal: LocalJournal, root: Path
) -> None:
    await written(journal, a_shard(0), [a_record(1)])
    later = LocalJournal(root, 0.001, 1 << 20)
    try:
        await written(later, a_shard(1), [a_record(2)])
        assert await sealed_numbers(later, 2) == [1, 2]
        await later.drop(BATCH)
    finally:
        await later.close()
    assert await journal.held() == []


@with_journal
async def test_a_file_that_is_no_segment_is_not_read_and_is_removed(
    journal: LocalJournal, root: Path
) -> None:
    await written(journal, a_shard(0), [a_record(1)])
    segment_path(root, a_shard(0)).with_name("notes.log").write_text("not ours")
    assert list((await journal.read(BATCH, 0)).records) == [1]
    await journal.drop(BATCH)
    assert await journal.held() == []


@with_journal
async def test_an_attempt_that_was_opened_before_is_refused(
    journal: LocalJournal, root: Path
) -> None:
    await written(journal, a_shard(0), [a_record(1)])
    with pytest.raises(FileExistsError):
        await written(journal, a_shard(0), [a_record(2)])
    assert await sealed_numbers(journal, 1) == [1]
