"""What it costs to hand out a shard, with more and more batches and finished shards beside it.

``python -m bench.dispatching run WHERE RUNNING FINISHED`` is the child that
does it, in a database of which ``seed`` made the rows before.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from batchmill.domain.schedule import FAIR_TURN
from batchmill.store import open_store
from bench.databases import Databases
from bench.dispatch_house import SLOTS, PretendCluster, a_dispatcher, seed, shards_of

_MOST = 6_000
_IDLE_SECONDS = 5.0
_QUIET = 0.05


@dataclass(frozen=True)
class Dispatching:
    """A dispatcher with ``running`` batches of 100 shards, and ``finished`` completed ones.

    A single running batch has 1,000 shards.

    ``first`` are the seconds from the start to a full cluster; ``cpu_us`` and
    ``wall_us`` are a shard's once every batch has had a turn; ``idle_ms`` is the CPU of a second
    in which nothing ends. Memory is the whole process's, at its peak. What a
    server of databases takes is in none of these but ``first`` and ``wall_us``.
    """

    running: int
    finished: int
    shards: int
    first: float
    cpu_us: float
    wall_us: float
    idle_ms: float
    megabytes: float


def measure(
    made: Databases, *, running: Sequence[int], finished: Sequence[int], rounds: int
) -> list[Dispatching]:
    """A row for each number of running and of finished batches: the median of the rounds."""
    return [_typical(_rounds(made, at, beside, rounds)) for beside in finished for at in running]


def _rounds(made: Databases, running: int, finished: int, rounds: int) -> list[Dispatching]:
    """The same rows, over and over."""
    seeded = made.fresh()
    _child("seed", seeded, running, finished)
    made.tidy(seeded)
    found = []
    for _ in range(rounds):
        copy = made.copy(seeded)
        told = _child("run", copy, running, finished)
        # What the dispatcher logs stands before it.
        found.append(Dispatching(**json.loads(told.splitlines()[-1])))
        made.drop(copy)
    made.drop(seeded)
    return found


def _child(verb: str, where: str, running: int, finished: int) -> str:
    command = [sys.executable, "-m", __name__, verb, where, str(running), str(finished)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _typical(rounds: Sequence[Dispatching]) -> Dispatching:
    fields = {name: [asdict(one)[name] for one in rounds] for name in asdict(rounds[0])}
    return Dispatching(**{name: median(values) for name, values in fields.items()})


async def _seed(where: str, running: int, finished: int) -> None:
    store = await open_store(where)
    # These rows need not survive a power cut.
    store._database.write = store._database.relaxed  # type: ignore[method-assign]
    await seed(store, running=running, finished=finished, now=time.time())
    await store.close()


async def _run(where: str, running: int, finished: int) -> Dispatching:
    store = await open_store(where)
    shards = shards_of(running)
    cluster = PretendCluster(store, shards)
    dispatcher = a_dispatcher(store, cluster)
    began = time.perf_counter()
    going = asyncio.create_task(dispatcher.run())
    while cluster.handed_out < SLOTS:
        await asyncio.sleep(0.001)
    first = time.perf_counter() - began
    # Everything that was there at the start is known by then.
    await _settle()
    idle = await _cpu_while(asyncio.sleep(_IDLE_SECONDS)) / _IDLE_SECONDS
    # Then every batch has had its first turn, and costs what it will go on to cost.
    warm = min(FAIR_TURN * running, running * shards // 2)
    await cluster.serve_until(SLOTS + warm)
    more = min(_MOST, running * shards - SLOTS - warm)
    began = time.perf_counter()
    cpu = await _cpu_while(cluster.serve_until(SLOTS + warm + more))
    wall = time.perf_counter() - began
    await dispatcher.stop(0.0)
    await going
    await store.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    per = 1e6 / more
    return Dispatching(running, finished, more, first, cpu * per, wall * per, idle * 1e3, peak)


async def _settle() -> None:
    before = -1.0
    while (now := time.process_time()) - before > _QUIET:
        before = now
        await asyncio.sleep(1.0)


async def _cpu_while(work: Awaitable[None]) -> float:
    began = time.process_time()
    await work
    return time.process_time() - began


def main() -> None:
    """The child's part."""
    verb, where, running, finished = sys.argv[1:]
    if verb == "seed":
        asyncio.run(_seed(where, int(running), int(finished)))
    else:
        print(json.dumps(asdict(asyncio.run(_run(where, int(running), int(finished))))))


if __name__ == "__main__":
    main()
