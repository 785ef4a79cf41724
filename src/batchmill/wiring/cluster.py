"""The processes of a cluster, made from what travelled to their machine and from its environment.

Everything here runs on the cluster's nodes; Ray reaches it by name, so that no
object with a secret in it ever leaves a process.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import msgspec

from batchmill.cluster.link import Fleet
from batchmill.cluster.muster import LINGER_SHARE, Muster
from batchmill.cluster.ray_actors import Papers, Place, Standing, Watch
from batchmill.cluster.ray_fleet import RayFleet
from batchmill.cluster.ray_session import Session
from batchmill.cluster.remote import RemoteCluster
from batchmill.config import LogFormat, Settings, restore_with_secrets
from batchmill.domain.pacing import BEGIN
from batchmill.domain.price_table import restore_table
from batchmill.engine.engine import Beat, Engine, keep_beating
from batchmill.engine.granted import GrantedWorker
from batchmill.engine.lease import seconds
from batchmill.engine.remote_purse import ReadTreasury, RemotePurses
from batchmill.ports import Clock, LeasedWorker, Sign, SignStore
from batchmill.telemetry import configure_logging, engine_metrics
from batchmill.wiring.engine import make_engine, observe_storage, open_station
from batchmill.wiring.lanes import lane_name, own_slots, shared_caps, tuned_outlets
from batchmill.wiring.parts import Parts, open_parts
from batchmill.wiring.signs import tell_worker

REGISTER = "cluster.register"

_LEASE_SECONDS = 0.25
_TELL_SECONDS = 1.0
_READ_SECONDS = 1.0


@asynccontextmanager
async def open_worker(papers: Papers, name: str) -> AsyncIterator[tuple[LeasedWorker, str]]:
    """A worker of this process, and what the process is called in its reports.

    Raises ConfigError, StorageFull and StorageAway.
    """
    settings = _settings(papers)
    async with open_parts(settings) as parts, serve_station(settings, parts, name) as served:
        yield served


@asynccontextmanager
async def serve_station(
    settings: Settings, parts: Parts, name: str
) -> AsyncIterator[tuple[LeasedWorker, str]]:
    """As ``open_worker``, over parts that are open."""
    process = f"{name}-{secrets.token_hex(4)}"
    purses, metrics = RemotePurses(), engine_metrics()
    linger = LINGER_SHARE * settings.cluster.fence_after
    async with open_station(
        settings, parts, purses, metrics, process=process, linger=linger
    ) as station:
        assert station.slots is not None  # noqa: S101 - it has a process' name
        worker = GrantedWorker(station.worker, station.slots, purses)

        async def tell() -> None:
            station.observe()
            await observe_storage(settings, parts, metrics)
            await tell_worker(parts.store.signs, name, metrics, parts.clock.now())

        beats = (
            *station.beats,
            Beat(_LEASE_SECONDS, worker.mind_lease),
            Beat(_TELL_SECONDS, tell),
        )
        beating = asyncio.create_task(keep_beating(beats, parts.clock))
        try:
            yield worker, process
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)


async def lead(papers: Papers, session: Session, watch: Watch) -> None:
    """Wait until nobody else leads, and lead until told to drain or until another one leads.

    Raises what breaks it.
    """
    settings = _settings(papers)
    async with open_parts(settings, restore_table(papers.prices)) as parts:
        drained = asyncio.create_task(watch.drained.wait())
        taking = asyncio.create_task(parts.store.leadership.take())
        try:
            await asyncio.wait({drained, taking}, return_when=asyncio.FIRST_COMPLETED)
            if taking.done():
                fleet = RayFleet(session, open_worker, papers, settings.cluster.worker_resource)
                office = make_office(settings, parts, fleet, taking.result())
                watch.standing = partial(office.standing, session.release, watch)
                await _work(office, parts, watch)
        finally:
            for task in (drained, taking):
                task.cancel()
            await asyncio.gather(drained, taking, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Office:
    """A dispatcher and the workers that it leads."""

    engine: Engine
    cluster: RemoteCluster
    muster: Muster

    def standing(self, release: str, watch: Watch) -> Standing:
        """How they are, for people to look at."""
        return Standing(
            release,
            self.muster.epoch,
            watch.drained.is_set(),
            tuple(
                Place(one.name, one.is_ready, len(one.runs), one.outstanding.total())
                for one in self.muster.members.values()
            ),
            len(self.engine.progress()),
            self.muster.slots(),
        )


def make_office(settings: Settings, parts: Parts, fleet: Fleet, epoch: int) -> Office:
    """The dispatcher of an epoch over the workers of ``fleet``."""
    caps = shared_caps(settings)
    store, clock = parts.store, parts.clock
    treasury = ReadTreasury(caps=store.caps, ledger=store.ledger, clock=clock)
    muster = Muster(
        fleet,
        SignedRegister(store.signs, clock),
        epoch=epoch,
        caps=caps,
        even=tuned_outlets(settings),
        broke=treasury.broke,
        clock=clock,
        monotonic=seconds,
        fence_after=settings.cluster.fence_after,
    )
    cluster = RemoteCluster(
        muster,
        # What is handed out ahead goes by the window that is begun with, not by its top.
        caps=shared_caps(settings, unset=BEGIN),
        own=own_slots(settings),
        lane_of=partial(lane_name, frozenset(model.name for model in settings.models)),
        clock=clock,
        shard_lines=settings.engine.shard_lines,
    )
    beats = (Beat(_READ_SECONDS, treasury.read),)
    engine = make_engine(settings, parts, cluster, treasury, engine_metrics(), beats=beats)
    return Office(engine, cluster, muster)


async def _work(office: Office, parts: Parts, watch: Watch) -> None:
    """Lead. The workers end with a drain alone; else they go on for whoever leads next."""
    stop = asyncio.Event()
    working = asyncio.create_task(office.engine.run(stop, lambda: watch.grace))
    ends = [
        asyncio.create_task(watch.drained.wait()),
        asyncio.create_task(parts.store.leadership.superseded()),
    ]
    listening = asyncio.create_task(parts.store.bell.listen(office.engine.wake))
    try:
        await asyncio.wait({working, *ends}, return_when=asyncio.FIRST_COMPLETED)
        if watch.drained.is_set():
            office.cluster.retire()
        stop.set()
        await working
    finally:
        for task in (*ends, listening):
            task.cancel()
        await asyncio.gather(*ends, listening, return_exceptions=True)


class SignedRegister:
    """The processes that may hold a lease, in a row; see Register."""

    def __init__(self, signs: SignStore, clock: Clock) -> None:
        self._signs = signs
        self._clock = clock
        self._durable: frozenset[str] | None = None

    async def read(self) -> frozenset[str]:
        """What was written last, by whichever dispatcher."""
        sign = await self._signs.get(REGISTER)
        names = msgspec.json.decode(sign.body, type=list[str]) if sign is not None else []
        return frozenset(names)

    async def write(self, processes: frozenset[str]) -> None:
        """Replace it; raises Superseded, and what the store raises."""
        sign = Sign(REGISTER, msgspec.json.encode(sorted(processes)), self._clock.now())
        await self._signs.put(sign, durably=processes != self._durable)
        self._durable = processes


def _settings(papers: Papers) -> Settings:
    settings = restore_with_secrets(papers.settings, os.environ)
    style = "json" if settings.log.format is LogFormat.AUTO else settings.log.format
    configure_logging(settings.log.level, style=style)
    return settings
