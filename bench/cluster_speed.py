"""What several workers on Ray make of one upstream, and what a line costs them.

All of it shares this machine: nodes, PostgreSQL, an S3 server in Python, and
the upstream. Where that is the bound, the CPU per line tells more than the
lines per second.
"""

import json
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bucket_server import new_place
from crash_upstream import Upstream
from postgres_server import PostgresServer
from postgres_server import running as postgres_running
from ray_house import RayHouse, nodes_running
from ray_nodes import RayNodes

from batchmill.cluster.ray_control import kill_all
from batchmill.cluster.ray_session import connected
from bench.processes import cpu_seconds, python, running
from bench.tables import table

SLOTS = 256
LATENCY = 1.0
WORKERS = 3
SHARD_LINES = "200"
LOOK_SECONDS = 0.05
START = 0.05  # of the lines are sent while the slots fill


@dataclass(frozen=True)
class Use:
    """A batch on an upstream with slots.

    ``whole`` is what it got of the throughput that the slots allow, from its
    creation to its files; ``steady`` is the share of the slots that were at
    work between the first lines and the last.
    """

    workers: int
    lines: int
    most_in_flight: int
    whole: float
    steady: float


@dataclass(frozen=True)
class Speed:
    """A batch on an upstream that answers at once; CPU is of workers and dispatcher."""

    workers: int
    lines: int
    seconds: float
    worker_us: float
    dispatcher_us: float


class Elsewhere(Upstream):
    """An upstream in a process of its own."""

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def url(self) -> str:
        """Its base URL."""
        return self._url


def measure_use(folder: Path, *, lines: int) -> Use:
    """One batch over all workers, on an upstream of so many slots."""
    options = ("--no-count-lines", "--slots", str(SLOTS), "--latency", str(LATENCY), "--port", "0")
    command = python("-m", "batchmill", "mock-upstream", *options)
    with (
        running(command, folder / "upstream.log") as (_, url),
        _nodes(folder, WORKERS) as (nodes, database),
        _house(folder / "use", nodes, database, url, WORKERS) as house,
    ):
        began = time.perf_counter()
        batch = house.submit(lines)
        looks = list(_looks(f"{url.removesuffix('/v1')}/stats", lines))
        ended = house.until_terminal(batch)
        seconds = time.perf_counter() - began
        if ended.counts.completed != lines:
            raise RuntimeError(f"The batch went wrong: {ended.counts}")
    ideal = lines / SLOTS * LATENCY
    # The answers of the upstream come in waves of a second: its load is the steadier measure.
    middle = [one.in_flight for one in looks if lines * START <= one.requests <= lines - SLOTS]
    steady = sum(middle) / len(middle) / SLOTS
    most = max(one.most for one in looks)
    return Use(WORKERS, lines, most, ideal / seconds, steady)


def measure_speed(folder: Path, *, lines: int, workers: Sequence[int]) -> list[Speed]:
    """One batch for each number of workers, on an upstream that answers at once."""
    found: list[Speed] = []
    with (
        running(python("-m", "bench.upstream"), folder / "immediate.log") as (_, port),
        _nodes(folder, 0) as (nodes, database),
    ):
        for before, count in pairwise((0, *workers)):
            for _ in range(count - before):
                nodes.add()
            url = f"http://127.0.0.1:{port.split()[-1]}/v1"
            with _house(folder / f"speed-{count}", nodes, database, url, count) as house:
                found.append(_measure_speed(house, lines, count))
    return found


def _measure_speed(house: RayHouse, lines: int, workers: int) -> Speed:
    pids = [one.pid for one in house.workers()], [house.dispatcher().pid]
    house.until_terminal(house.submit(lines // 10, "warm"))
    before = [cpu_seconds(of) for of in pids]
    began = time.perf_counter()
    ended = house.until_terminal(house.submit(lines))
    seconds = time.perf_counter() - began
    after = [cpu_seconds(of) for of in pids]
    if ended.counts.completed != lines:
        raise RuntimeError(f"The batch went wrong: {ended.counts}")
    used = [(b - a) / lines * 1e6 for a, b in zip(before, after, strict=True)]
    return Speed(workers, lines, seconds, used[0], used[1])


@dataclass(frozen=True)
class _Look:
    requests: int
    in_flight: int
    most: int


def _looks(url: str, lines: int) -> Iterator[_Look]:
    """The upstream's counts until it has answered so many lines."""
    answered = 0
    while answered < lines:
        with urllib.request.urlopen(url) as answer:
            told = json.load(answer)
        answered = int(told["answered"])
        yield _Look(told["requests"], told["in_flight"], told["max_in_flight"])
        time.sleep(LOOK_SECONDS)


@contextmanager
def _nodes(folder: Path, count: int) -> Iterator[tuple[RayNodes, PostgresServer]]:
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        database = stack.enter_context(postgres_running())
        yield stack.enter_context(nodes_running(count)), database


@contextmanager
def _house(
    folder: Path, nodes: RayNodes, database: PostgresServer, url: str, workers: int
) -> Iterator[RayHouse]:
    folder.mkdir()
    place, name = new_place(), database.create()
    options = {"shard_lines": SHARD_LINES}
    upstream = Elsewhere(url)
    where = database.url(name)
    house = RayHouse(folder, nodes, database, where, place, upstream, SLOTS, options=options)
    with connected(house.session):
        try:
            house.command("start")
            house.until_ready(workers)
            yield house
        finally:
            kill_all(house.session)


def tell_use(use: Use) -> str:
    """The figures as a table."""
    heads = ["workers", "lines", "cap", "most in flight", "of ideal, in all", "without the ends"]
    shares = [f"{use.whole:.1%}", f"{use.steady:.1%}"]
    rows = [[str(use.workers), f"{use.lines:,}", str(SLOTS), str(use.most_in_flight), *shares]]
    return table(heads, rows)


def tell_speed(speeds: Sequence[Speed]) -> str:
    """One row a number of workers."""
    heads = ["workers", "lines/s", "x first", "workers' CPU us/line", "dispatcher's CPU us/line"]
    first = speeds[0].lines / speeds[0].seconds
    rows = [
        [
            str(one.workers),
            f"{one.lines / one.seconds:,.0f}",
            f"{one.lines / one.seconds / first:.2f}",
            f"{one.worker_us:.0f}",
            f"{one.dispatcher_us:.0f}",
        ]
        for one in speeds
    ]
    return table(heads, rows)
