"""Two processes on one database, as the API and the engine are; kills and cancelled calls."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import postgres_server
import pytest
from sqlalchemy import text
from store_cases import KINDS, WHERE, a_batch, planned

from batchmill.ports import BatchQuery
from batchmill.store import open_store

ROUNDS = 60

of_each_kind = pytest.mark.parametrize("kind", sorted(KINDS))

CREATE_BATCHES = """
import asyncio, sys
sys.path[:0] = sys.argv[3].split(':')
from store_cases import a_batch
from batchmill.ports import Idempotency, UnfinishedCap
from batchmill.store import open_store

async def main():
    name, rounds = sys.argv[2], int(sys.argv[4])
    store = await open_store(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()

    async def create(n):
        batch = a_batch(f"{name}-{n}", metadata={"k": "v" * 2000})
        await store.batches.create(batch, Idempotency(batch.id, "f"), [UnfinishedCap(10**6)])
        print(batch.id, flush=True)

    for n in range(0, rounds, 3):
        await asyncio.gather(*(create(n + i) for i in range(3)))
    await store.close()

asyncio.run(main())
"""

TALLY_SHARDS = """
import asyncio, sys
sys.path[:0] = sys.argv[3].split(':')
from store_cases import a_tally
from batchmill.store import open_store

async def main():
    rounds = int(sys.argv[4])
    store = await open_store(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    shards = await store.shards.claim(await store.shards.of_batch("batch_running"))
    for n in range(rounds):
        await store.shards.tally([a_tally(shard, n % 10) for shard in shards])
    for shard in shards:
        assert await store.shards.close(a_tally(shard, 10))
    await store.close()

asyncio.run(main())
"""


def started(script: str, where: Path | str, name: str, rounds: int) -> subprocess.Popen[str]:
    modules = ":".join(str(Path(file).parent) for file in (__file__, postgres_server.__file__))
    command = [sys.executable, "-c", script, str(where), name, modules]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*command, str(rounds)], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@of_each_kind
def test_processes_write_at_the_same_time_and_none_finds_the_database_locked(
    kind: str, tmp_path: Path
) -> None:
    """Two create batches, one writes progress, and this one reads, all at once."""
    path = WHERE[kind](tmp_path)

    async def prepare() -> None:
        store = await open_store(path)
        await planned(store, a_batch("running"), shards=8)
        await store.close()

    async def read_meanwhile(processes: list[subprocess.Popen[str]]) -> int:
        store = await open_store(path)
        while any(process.poll() is None for process in processes):
            page = await store.batches.list("acme", BatchQuery(100))
            assert page.items[-1].id == "batch_running" or page.has_more
        unfinished = await store.batches.unfinished()
        running = await store.batches.get("acme", "batch_running")
        assert running is not None
        assert running.counts.completed == 80
        await store.close()
        return len(unfinished)

    asyncio.run(prepare())
    processes = [started(CREATE_BATCHES, path, name, ROUNDS) for name in ("a", "b")]
    processes.append(started(TALLY_SHARDS, path, "c", ROUNDS))
    for process in processes:
        go(process)
    count = asyncio.run(read_meanwhile(processes))
    ends = [(process.communicate()[1], process.returncode) for process in processes]
    assert ends == [("", 0)] * 3
    assert count == 2 * ROUNDS + 1


def test_a_writer_holds_the_database_from_its_first_read_on(tmp_path: Path) -> None:
    """What it decides by what it read is still true when it writes."""

    async def main() -> None:
        store = await open_store(tmp_path / "x.db")
        with closing(sqlite3.connect(tmp_path / "x.db", timeout=0)) as stranger:
            async with store._database.write() as connection:
                await connection.execute(text("SELECT count(*) FROM files"))
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    stranger.execute("BEGIN IMMEDIATE")
            stranger.execute("BEGIN IMMEDIATE")
            assert await store.batches.get("acme", "batch_1") is None
        await store.close()

    asyncio.run(main())


@of_each_kind
def test_what_was_acknowledged_before_a_kill_is_there(kind: str, tmp_path: Path) -> None:
    """And the next process opens and writes as if nothing had been."""
    path = WHERE[kind](tmp_path)
    process = started(CREATE_BATCHES, path, "a", 30_000)
    go(process)
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    process.communicate()

    async def after() -> None:
        store = await open_store(path)
        for batch_id in acknowledged:
            assert await store.batches.get("acme", batch_id) is not None
        await store.batches.create(a_batch("after"), None, ())
        await store.close()

    asyncio.run(after())


@of_each_kind
@pytest.mark.parametrize("patience", range(0, 60, 5))
def test_a_cancelled_write_happens_whole_or_not_at_all(
    kind: str, patience: int, tmp_path: Path
) -> None:
    """Wherever the caller is torn away, the store goes on and holds no half of it."""

    async def main() -> None:
        store = await KINDS[kind](tmp_path)
        tasks = [asyncio.create_task(planned(store, a_batch(str(n)))) for n in range(4)]
        for _ in range(patience):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for batch in await store.batches.unfinished():
            shards = await store.shards.of_batch(batch.id)
            assert len(shards) == (0 if batch.in_progress_at is None else 2)
        await planned(store, a_batch("after"))
        await store.close()

    asyncio.run(main())
