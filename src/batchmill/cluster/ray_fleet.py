"""The workers of a Ray cluster: one detached actor on each node that can have one."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from batchmill.cluster.link import Caller, Gone, Letter, Link, Unreachable, Word
from batchmill.cluster.ray_actors import Papers, WorkerActor, WorkerOpener
from batchmill.cluster.ray_session import WORKER, Session, named_actors
from batchmill.domain.errors import Superseded
from batchmill.ports import RunKey, ShardEnd, ShardRun
from batchmill.telemetry import Fact, get_logger

log = get_logger()

T = TypeVar("T")

# A worker has every shard of its runs under way at once, and its beats besides.
MOST_CALLS = 10_000

# As much of a node's id as people are shown.
SHORT = 12


class RayLink:
    """A worker actor; see Link."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def beat(self, letter: Letter) -> Word:
        """Say something; how the worker is."""
        word: Word | None = await _asked(self._actor.beat.remote(letter))
        if word is None:
            raise Unreachable
        return word

    async def run(self, caller: Caller, run: ShardRun) -> ShardEnd:
        """Start a run, or join it where it was started; how it ended."""
        end: ShardEnd = await _asked(self._actor.run.remote(caller, run))
        return end

    async def join(self, caller: Caller, key: RunKey) -> ShardEnd:
        """How a run ends; lost where there is none."""
        end: ShardEnd = await _asked(self._actor.join.remote(caller, key))
        return end

    async def cancel(self, caller: Caller, batch_id: str, grace: float) -> None:
        """As ``Worker.cancel``."""
        await _asked(self._actor.cancel.remote(caller, batch_id, grace))

    async def stop(self, caller: Caller, grace: float) -> None:
        """As ``Worker.stop``; every run has ended when it returns."""
        await _asked(self._actor.stop.remote(caller, grace))

    async def kill(self, *, for_good: bool) -> None:
        """End the process at once; unless ``for_good`` another takes its place. Never raises."""
        import ray
        from ray.exceptions import RayError

        try:
            await asyncio.to_thread(ray.kill, self._actor, no_restart=for_good)
        except (RayError, RuntimeError, ValueError):  # it is gone, or nobody can reach it
            log.warning(Fact.WORKER_NOT_KILLED)


async def _asked(answer: Awaitable[T]) -> T:
    """The answer of an actor, its failures in the words of ``link``."""
    from ray.exceptions import (
        ActorDiedError,
        ActorUnschedulableError,
        RayError,
        RayTaskError,
    )

    try:
        return await answer
    except Superseded:
        raise
    except RayTaskError as error:
        if isinstance(error.cause, Superseded):
            raise error.cause from None
        raise
    except (ActorDiedError, ActorUnschedulableError):
        raise Gone from None
    except RayError:
        raise Unreachable from None


class RayFleet:
    """One worker a node; on nodes that offer ``resource`` alone, where that is named.

    Workers of other releases are ended: their dispatcher leads no more.
    """

    def __init__(
        self, session: Session, opener: WorkerOpener, papers: Papers, resource: str | None = None
    ) -> None:
        self._session = session
        self._opener = opener
        self._papers = papers
        self._resource = resource
        self._links: dict[str, RayLink] = {}

    async def links(self, *, make: bool) -> Mapping[str, Link]:
        """The worker of each node by name; ``make`` one where there is none."""
        from ray.exceptions import RayError

        try:
            await asyncio.to_thread(self._look, make=make)
        except (RayError, RuntimeError, ConnectionError) as error:
            raise Unreachable from error
        return dict(self._links)

    async def forget(self, name: str) -> None:
        """The worker of that name is gone: make another when ``links`` is asked again."""
        self._links.pop(name, None)

    def _look(self, *, make: bool) -> None:
        import ray

        known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        nodes = [node for node in known if node["Alive"] and self._fits(node)]
        named = {self._session.worker(node["NodeID"]): node["NodeID"] for node in nodes}
        there = set(named_actors(WORKER))
        self._links = {name: link for name, link in self._links.items() if name in named}
        for name, node in named.items():
            if name not in self._links and (make or name in there):
                self._links[name] = RayLink(self._get_or_make(name, node))
        if make:
            for stranger in there - named.keys():
                self._end(stranger)

    def _fits(self, node: Mapping[str, Any]) -> bool:
        return self._resource is None or node["Resources"].get(self._resource, 0) > 0

    def _get_or_make(self, name: str, node: str) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options = {
            "name": name,
            "namespace": self._session.namespace,
            "lifetime": "detached",
            "get_if_exists": True,
            "max_restarts": -1,
            "max_concurrency": MOST_CALLS,
            "num_cpus": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id=node, soft=False),
        }
        maker = ray.remote(WorkerActor).options(**options)
        return maker.remote(self._opener, self._papers, node[:SHORT])

    def _end(self, name: str) -> None:
        import ray

        try:
            ray.kill(ray.get_actor(name, namespace=self._session.namespace), no_restart=True)
        except ValueError:  # it went by itself
            return
