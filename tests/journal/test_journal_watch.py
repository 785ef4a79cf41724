"""What the operator sees of the journal: its lag, its syncs, and a disk that is full."""

import asyncio
import errno
import os
from pathlib import Path

import pytest
from journal_cases import Heard, a_record, a_shard, open_journal

from batchmill.journal import local
from batchmill.journal.local import LocalJournal
from batchmill.journal.watch import SyncWatch
from batchmill.telemetry import EngineMetrics, engine_metrics


def reading(metrics: EngineMetrics, name: str) -> float:
    value = metrics.registry.get_sample_value(f"batchmill_{name}")
    assert value is not None
    return value


def lag_of(watch: SyncWatch, now: float, metrics: EngineMetrics | None = None) -> float:
    metrics = metrics or engine_metrics()
    watch.observe(metrics.journal, now)
    return reading(metrics, "journal_lag_seconds")


def test_a_watch_that_saw_nothing_shows_no_lag() -> None:
    assert lag_of(SyncWatch(), 50.0) == 0.0


def test_the_lag_runs_from_the_first_bytes_to_the_end_of_the_sync() -> None:
    watch = SyncWatch()
    watch.begin(10.0)
    watch.begin(11.0)  # more of the same group
    assert lag_of(watch, 12.0) == 2.0
    watch.take(13.0)
    assert lag_of(watch, 14.0) == 4.0
    watch.end(15.0, is_durable=True)
    assert lag_of(watch, 99.0) == 5.0, "it is over, and was so long"
    assert lag_of(watch, 99.0) == 0.0, "it was told"


def test_the_lag_is_that_of_the_older_of_two_groups() -> None:
    watch = SyncWatch()
    watch.begin(10.0)
    watch.take(11.0)
    watch.begin(12.0)
    assert lag_of(watch, 13.0) == 3.0
    watch.end(14.0, is_durable=True)
    assert lag_of(watch, 15.0) == 4.0
    assert lag_of(watch, 16.0) == 4.0, "the younger waits since 12"


@pytest.mark.parametrize("is_more_there", [False, True])
def test_a_group_that_found_no_room_is_as_old_as_it_is(is_more_there: bool) -> None:
    watch, metrics = SyncWatch(), engine_metrics()
    watch.begin(10.0)
    watch.take(11.0)
    if is_more_there:
        watch.begin(12.0)
    watch.end(13.0, is_durable=False)
    watch.begin(13.0)  # it is pending again
    assert lag_of(watch, 20.0, metrics) == 10.0
    assert reading(metrics, "journal_sync_seconds_count") == 0.0
    watch.take(21.0)
    watch.end(22.0, is_durable=True)
    assert lag_of(watch, 30.0, metrics) == 12.0


def test_each_sync_is_counted_once_with_the_time_of_writing_alone() -> None:
    watch, metrics = SyncWatch(), engine_metrics()
    for start in (10.0, 20.0):
        watch.begin(start)
        watch.take(start + 1.0)
        watch.end(start + 3.0, is_durable=True)
    for _ in range(2):
        lag_of(watch, 30.0, metrics)
    assert reading(metrics, "journal_sync_seconds_count") == 2.0
    assert reading(metrics, "journal_sync_seconds_sum") == 4.0


def show(journal: LocalJournal) -> tuple[float, float, float]:
    """Pending bytes, whether the disk is full, and how many syncs there were."""
    metrics = engine_metrics()
    journal.observe(metrics.journal)
    names = ("journal_pending_bytes", "storage_full", "journal_sync_seconds_count")
    pending, full, syncs = (reading(metrics, name) for name in names)
    return pending, full, syncs


def test_a_journal_shows_what_is_pending_and_that_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, is_full = os.fdatasync, [True]
    refused = asyncio.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def fdatasync(fd: int) -> None:
            if is_full[0]:
                loop.call_soon_threadsafe(refused.set)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(fd)

        monkeypatch.setattr(os, "fdatasync", fdatasync)
        monkeypatch.setattr(local, "_RETRY_SECONDS", 0.001)
        async with open_journal(tmp_path) as journal:
            assert show(journal) == (0.0, 0.0, 0.0)
            heard = Heard()
            segment = await journal.open(a_shard(), heard)
            segment.append(a_record(1))
            pending = show(journal)[0]
            assert pending > 0
            for _ in range(2):  # at the second refusal the flusher has heard of the first
                refused.clear()
                await refused.wait()
            assert show(journal) == (pending, 1.0, 0.0)
            is_full[0] = False
            await segment.close()
            assert heard.numbers == [1]
            assert show(journal) == (0.0, 0.0, 1.0)

    asyncio.run(main())
