"""A whole deployment on Ray: nodes, PostgreSQL, a bucket, an upstream; and what may befall it.

The dispatcher and the workers are put there by ``batchmill cluster start``, as
an operator does it. Tests do to them what fate does (``kill``, ``freeze``,
``cut_power``), and hold every batch's files, counts, bill and the upstream's own
count of what it was sent against each other.
"""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from bucket_server import Place, new_place, server_url
from crash_ledger import PRICES, line_price
from crash_upstream import Upstream, upstream_running
from crash_waiting import wait_until
from postgres_server import PostgresServer, shared
from ray_nodes import RayNodes, ray_nodes
from redis_server import RedisServer
from stored_batch import new_batch, store_input

import batchmill
from batchmill.cluster.ray_actors import Standing
from batchmill.cluster.ray_control import kill_all, standings
from batchmill.cluster.ray_session import DISPATCHER, WORKER, Session, connected
from batchmill.config import Settings, load_prices, load_settings
from batchmill.domain.batch import Batch, Event, Status, advance
from batchmill.domain.ids import line_id
from batchmill.domain.money import UNITS
from batchmill.domain.price_table import dump_table
from batchmill.domain.pricing import PriceTable
from batchmill.upstream.mock import Script
from batchmill.wiring.parts import Parts, open_parts

MODEL = "m"
CHAT = "/v1/chat/completions"
KEY = "UPSTREAM_KEY_OF_THE_TESTS"
SECRET = "sk-never-to-be-seen"
DISCOUNTED = 1 - Decimal("0.377")

T = TypeVar("T")


@dataclass
class Actor:
    """A process of the deployment."""

    name: str
    pid: int
    node: str


@dataclass
class RayHouse:
    """The deployment. ``folder`` holds its configuration and the logs of the commands."""

    folder: Path
    nodes: RayNodes
    database: PostgresServer
    url: str
    bucket: Place
    upstream: Upstream
    slots: int
    fence_after: float = 5.0
    options: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config = self.folder / "batchmill.toml"
        self.prices = self.folder / "prices.toml"
        self.prices.write_text(PRICES)
        self.config.write_text(self._configuration())
        self.session = Session(
            self.nodes.address, "token", f"deployment-{secrets.token_hex(4)}", batchmill.__version__
        )
        self.config.write_text(self._configuration())

    def _configuration(self) -> str:
        engine = {"shard_lines": "20", "poll_interval": "0.5", "stop_grace": "5", **self.options}
        lines = "\n".join(f"{name} = {value}" for name, value in engine.items())
        bucket = json.dumps(dict(self.bucket.options)).replace('": ', '" = ')
        namespace = self.session.namespace if hasattr(self, "session") else "unnamed"
        return f"""
[data]
dir = "{self.folder / "data"}"
database = "{self.url}"
blobs = "{self.bucket.url}"
blob_options = {bucket}
[cluster]
kind = "ray"
address = "{self.nodes.address}"
namespace = "{namespace}"
worker_resource = "batchmill"
fence_after = {self.fence_after}
[prices]
file = "{self.prices}"
[engine]
{lines}
[[models]]
name = "{MODEL}"
[[models.upstreams]]
url = "{self.upstream.url}"
api_key_env = "{KEY}"
max_in_flight = {self.slots}
"""

    def move(self, nodes: RayNodes) -> None:
        """The same deployment, from now on looked for on other nodes."""
        self.nodes = nodes
        self.session = replace(self.session, address=nodes.address)
        self.config.write_text(self._configuration())

    @property
    def settings(self) -> Settings:
        return load_settings(file=self.config, env=os.environ, flags={}).settings

    # --- what an operator does ---

    def command(self, *words: str, expect: int = 0) -> str:
        """Run ``batchmill cluster …``; what it printed."""
        line = [sys.executable, "-m", "batchmill", "cluster", *words, "--config", str(self.config)]
        done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=150)
        assert done.returncode == expect, f"{words}: {done.stdout}{done.stderr}"
        assert SECRET not in done.stdout + done.stderr
        return done.stdout + done.stderr

    def standing(self) -> Standing | None:
        """How this release's dispatcher is."""
        return standings(self.session).get(self.session.dispatcher)

    def until_ready(self, workers: int) -> None:
        """Until the dispatcher leads and so many workers are ready."""

        def is_ready() -> bool:
            found = self.standing()
            ready = [one for one in found.workers if one.is_ready] if found is not None else []
            return len(ready) == workers

        wait_until(is_ready, f"{workers} workers are ready", pause=0.1)

    # --- what fate does ---

    def actors(self, kind: str) -> list[Actor]:
        """The living actors of a kind; other deployments' have ended."""
        from ray._private.state import actors  # no public call tells of pids without a dashboard

        return [
            Actor(one["Name"], one["Pid"], one["Address"]["NodeID"])
            for one in actors().values()
            if one["State"] == "ALIVE" and one["Name"].startswith(f"{kind}-")
        ]

    def workers(self) -> list[Actor]:
        return sorted(self.actors(WORKER), key=lambda one: one.name)

    def dispatcher(self) -> Actor:
        [one] = self.actors(DISPATCHER)
        return one

    def kill(self, actor: Actor) -> None:
        """As the kernel does when memory is short."""
        os.kill(actor.pid, signal.SIGKILL)

    def freeze(self, actor: Actor) -> None:
        os.kill(actor.pid, signal.SIGSTOP)

    def thaw(self, actor: Actor) -> None:
        os.kill(actor.pid, signal.SIGCONT)

    # --- what clients do ---

    def submit(self, lines: int, name: str = "c", window: float = 86_400.0) -> Batch:
        """Upload and create, and ring the bell."""
        data = b"".join(_line(name, number) for number in range(1, lines + 1))
        prices = load_prices(self.settings)
        return self.ask(lambda parts: _submit(parts, data, window, prices))

    def cancel(self, batch: Batch) -> None:
        async def ask(parts: Parts) -> None:
            before = await parts.store.batches.get(batch.account, batch.id)
            assert before is not None
            after = advance(before, Event.CANCEL_REQUESTED, parts.clock.now())
            assert await parts.store.batches.move(before, after)
            await parts.store.bell.ring()

        self.ask(ask)

    def get(self, batch: Batch) -> Batch:
        found = self.ask(lambda parts: parts.store.batches.get(batch.account, batch.id))
        assert found is not None
        return found

    def until_terminal(self, batch: Batch) -> Batch:
        """The batch at its end."""

        async def wait(parts: Parts) -> Batch:
            while True:
                found = await parts.store.batches.get(batch.account, batch.id)
                assert found is not None
                if found.status.is_terminal:
                    return found
                await asyncio.sleep(0.1)

        return self.ask(wait)

    def ask(self, question: Callable[[Parts], Coroutine[Any, Any, T]]) -> T:
        """What the store and the blobs say."""

        async def main() -> T:
            async with open_parts(self.settings) as parts:
                return await asyncio.wait_for(question(parts), 180)

        return asyncio.run(main())

    # --- what came of it ---

    def check(self, batch: Batch, name: str = "c", status: Status = Status.COMPLETED) -> int:
        """Everything that is promised of a batch at its end; how often lines were sent again."""
        assert batch.status is status
        output, error = self.ask(lambda parts: _results(parts, batch))
        assert (len(output), len(error)) == (batch.counts.completed, batch.counts.failed)
        numbers = sorted(int(one["custom_id"].removeprefix(f"{name}-")) for one in output + error)
        assert numbers == list(range(1, batch.counts.total + 1)), "each line is there, and once"
        used = [one["response"]["body"]["usage"] for one in output]
        assert batch.usage.input == sum(one["prompt_tokens"] for one in used)
        listed = sum((line_price(one) for one in used), Decimal(0))
        assert Decimal(batch.list_price) / UNITS == listed
        assert Decimal(batch.price) / UNITS == listed * DISCOUNTED
        hits = self.upstream.hits()
        sent = [hits.get(line_id(batch.id, number), 0) for number in numbers]
        if status is Status.COMPLETED:
            assert min(sent) >= 1
        return sum(max(0, count - 1) for count in sent)


def _line(name: str, number: int) -> bytes:
    body = {"model": MODEL, "messages": [{"role": "user", "content": f"{name} {number}"}]}
    line = {"custom_id": f"{name}-{number}", "method": "POST", "url": CHAT, "body": body}
    return json.dumps(line).encode() + b"\n"


async def _submit(parts: Parts, data: bytes, window: float, prices: PriceTable) -> Batch:
    now = parts.clock.now()
    file = await store_input(parts.store, parts.blobs, data, now)
    await parts.store.prices.keep(prices.version, dump_table(prices), now)
    batch = new_batch(file.id, now, window, price_version=prices.version, currency="USD")
    made = await parts.store.batches.create(batch, None, ())
    await parts.store.bell.ring()
    return made


async def _results(parts: Parts, batch: Batch) -> tuple[list[Any], list[Any]]:
    return (
        await _read(parts, batch, batch.output_file_id),
        await _read(parts, batch, batch.error_file_id),
    )


async def _read(parts: Parts, batch: Batch, file_id: str | None) -> list[Any]:
    if file_id is None:
        return []
    file = await parts.store.files.get(batch.account, file_id)
    assert file is not None
    data = b"".join([chunk async for chunk in parts.blobs.read(file.blob)])
    assert len(data) == file.bytes
    return [json.loads(line) for line in data.splitlines()]


@contextmanager
def nodes_running(count: int, redis: RedisServer | None = None) -> Iterator[RayNodes]:
    """Nodes whose environment has what this deployment's processes need."""
    server_url()  # puts the bucket's credentials into the environment
    os.environ[KEY] = SECRET
    with ray_nodes(count, redis=redis) as nodes:
        yield nodes


@contextmanager
def ray_house(
    folder: Path,
    nodes: RayNodes,
    *,
    slots: int = 8,
    fence_after: float = 5.0,
    script: Script | None = None,
    database: PostgresServer | None = None,
    bucket: Place | None = None,
    **options: str,
) -> Iterator[RayHouse]:
    """A deployment of its own on ``nodes``; every actor of it is ended at the end.

    ``options`` are settings of the engine, as they are written in TOML.
    """
    server = database or shared()
    name = server.create()
    with upstream_running(script or Script(require_key=SECRET)) as upstream:
        url, place = server.url(name), bucket or new_place()
        house = RayHouse(folder, nodes, server, url, place, upstream, slots, fence_after, options)
        with connected(house.session):
            try:
                yield house
            finally:
                kill_all(house.session)
    server.drop(name)
