"""A cluster of workers in other processes, which outlive the dispatcher that uses it."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from batchmill.cluster.link import Caller, Gone, Unreachable, key_of
from batchmill.cluster.member import Handed, Member, OnEnd
from batchmill.cluster.muster import Muster
from batchmill.domain.errors import BatchmillError, Superseded
from batchmill.domain.shards import Shard
from batchmill.domain.sharing import Outlet
from batchmill.ports import Clock, ShardEnd, ShardRun
from batchmill.telemetry import Fact, get_logger

log = get_logger()

# Lines that a worker should have ahead: for each of its slots, and by its pace in seconds.
_LOOKAHEAD = 2
_AHEAD_SECONDS = 4.0

_Call = Callable[[], Awaitable[ShardEnd]]

_PATIENCE = 5.0
_RETRY_SECONDS = 0.3


class RemoteCluster:
    """Runs shards on the workers of ``muster``.

    ``caps`` are the slots that all workers share, ``own`` those that each has
    by itself, by lane. ``shard_lines`` is how large a shard is, until one has
    been seen.
    """

    def __init__(
        self,
        muster: Muster,
        *,
        caps: Mapping[Outlet, int],
        own: Mapping[str, int],
        lane_of: Callable[[str], str],
        clock: Clock,
        shard_lines: int,
    ) -> None:
        self._muster = muster
        self._own = own
        self._lane_of = lane_of
        self._clock = clock
        self._sizes: dict[str, int] = {}
        self._shard_lines = shard_lines
        self._slots: dict[str, int] = {}
        for outlet, cap in caps.items():
            self._slots[outlet.model] = self._slots.get(outlet.model, 0) + cap
        self._follows: set[asyncio.Task[ShardEnd | None]] = set()
        self._is_stopping = False
        self._is_retiring = False
        muster.on_lost = self._on_lost

    async def attach(self, on_end: OnEnd) -> Sequence[Shard]:
        """The shards that workers are running already, for a dispatcher that is gone.

        Raises Unreachable, Superseded, and what the store raises.
        """
        words = await self._muster.assemble()
        held: list[Shard] = []
        for name, word in words.items():
            member = self._muster.members[name]
            for shard in word.held:
                caller = member.caller(self._muster.epoch)
                join = partial(member.link.join, caller, key_of(shard))
                self._hand(member, shard, on_end, join)
                held.append(shard)
            member.hear(word, member.heard_at)
        self._muster.start()
        return held

    def run(self, run: ShardRun, on_end: OnEnd) -> None:
        """Hand a shard to the worker that has the least to do; ``on_end`` is called once, later."""
        lanes = self._lanes(run.shard)
        ready = self._muster.ready
        if not ready:
            asyncio.get_running_loop().call_soon(on_end, run.shard, ShardEnd.LOST)
            return
        member = min(ready, key=lambda one: _business(one, lanes))
        for lane in lanes:
            self._sizes[lane] = run.shard.lines
        start = partial(member.link.run, member.caller(self._muster.epoch), run)
        self._hand(member, run.shard, on_end, start)
        self._muster.expect(member, lanes, run.shard.lines)

    def wanted(self, model: str) -> int:
        """How many more lines this model's slots could use now, over all workers.

        In whole shards, less a part of one: every worker that lacks lines is to get a shard.
        """
        lane = self._lane_of(model)
        ready = self._muster.ready
        if self._is_stopping or not ready:
            return 0
        share = math.ceil(self._slots.get(lane, 0) / len(ready)) + self._own.get(lane, 0)
        size = max(1, self._sizes.get(lane, self._shard_lines))
        shards = sum(math.ceil(max(0, _missing(one, lane, share)) / size) for one in ready)
        return (shards - 1) * size + 1 if shards else 0

    async def cancel(self, batch_id: str, grace: float) -> None:
        """Send nothing more of this batch; abort what is in flight after ``grace`` seconds."""
        members = list(self._muster.members.values())
        await asyncio.gather(*(self._cancel(one, batch_id, grace) for one in members))

    async def _cancel(self, member: Member, batch_id: str, grace: float) -> None:
        """Until it has heard, or runs nothing of the batch."""
        while any(key.batch_id == batch_id for key in member.runs):
            try:
                caller = member.caller(self._muster.epoch)
                return await member.link.cancel(caller, batch_id, grace)
            except Gone:
                return None
            except Unreachable:
                await self._clock.sleep(_RETRY_SECONDS)
        return None

    def retire(self) -> None:
        """Let ``stop`` end the workers too: without this they go on for the next dispatcher."""
        self._is_retiring = True

    async def stop(self, grace: float) -> None:
        """Hand out nothing more; end the workers if they are to retire.

        Each run's ``on_end`` is called before this returns: as stopped or
        finished where its worker could say, else as lost.
        """
        self._is_stopping = True
        await self._muster.stop_looking()
        if self._is_retiring:
            await self._end_all(grace)
        follows = list(self._follows)
        for task in follows:
            task.cancel()
        await asyncio.gather(*follows, return_exceptions=True)
        await self._muster.close()

    async def _end_all(self, grace: float) -> None:
        members = list(self._muster.members.values())
        were_told = await asyncio.gather(*(self._end(one, grace) for one in members))
        if all(were_told):
            try:
                await self._muster.dismiss()
            except BatchmillError:
                log.warning(Fact.BEAT_FAILED, exc_info=True)

    async def _end(self, member: Member, grace: float) -> bool:
        """Stop a worker, hear how its runs ended, and end its process; whether it was told."""
        tasks = [one.task for one in member.runs.values() if one.task is not None]
        try:
            async with asyncio.timeout(grace + _PATIENCE):
                await member.link.stop(member.caller(self._muster.epoch), grace)
                await asyncio.gather(*tasks, return_exceptions=True)
        except Superseded:  # it works for another dispatcher
            return False
        except (Unreachable, Gone, TimeoutError):
            log.warning(Fact.WORKER_LOST, worker=member.name)
            await member.link.kill(for_good=True)
            return False
        await member.link.kill(for_good=True)
        return True

    # --- runs ---

    def _lanes(self, shard: Shard) -> frozenset[str]:
        return frozenset(self._lane_of(model) for model in shard.models)

    def _hand(self, member: Member, shard: Shard, on_end: OnEnd, call: _Call) -> None:
        handed = Handed(shard, self._lanes(shard), on_end)
        member.hand(handed)
        handed.task = asyncio.create_task(self._until_end(member, shard, call))
        self._follows.add(handed.task)
        handed.task.add_done_callback(partial(self._ended, member, handed))

    def _ended(
        self, member: Member, handed: Handed, follow: "asyncio.Task[ShardEnd | None]"
    ) -> None:
        """Tell how a run ended; one that is not followed any more is lost."""
        self._follows.discard(follow)
        shard, end = handed.shard, None
        if not follow.cancelled():
            if (error := follow.exception()) is not None:
                names = {"batch_id": shard.batch_id, "shard": shard.index}
                log.error(Fact.SHARD_LOST, exc_info=error, **names)
            else:
                end = follow.result()
        member.end(key_of(shard), is_over=end is not None)
        self._muster.hurry()
        handed.on_end(shard, end or ShardEnd.LOST)

    async def _until_end(self, member: Member, shard: Shard, call: _Call) -> ShardEnd | None:
        """How the worker says that it ended; None where it cannot say."""
        caller = member.caller(self._muster.epoch)
        while True:
            try:
                return await call()
            except Gone:
                return None
            except Unreachable:
                if not await self._is_still(member, caller):
                    return None
                call = partial(member.link.join, caller, key_of(shard))

    async def _is_still(self, member: Member, caller: Caller) -> bool:
        try:
            return await self._muster.is_still(member, caller.process)
        except Gone:
            return False

    def _on_lost(self, member: Member) -> None:
        """Its runs belong to nobody now."""
        if member.runs:
            log.warning(Fact.WORKER_LOST, worker=member.name, shards=len(member.runs))
        for handed in member.runs.values():
            if handed.task is not None:
                handed.task.cancel()


def _business(member: Member, lanes: frozenset[str]) -> tuple[int, int, str]:
    of_lanes = sum(member.outstanding[lane] for lane in lanes)
    return of_lanes, member.outstanding.total(), member.name


def _missing(member: Member, lane: str, share: int) -> int:
    """Lines that it lacks to keep its share of the slots busy until it is heard of again."""
    ahead = max(_LOOKAHEAD * share, int(member.pace(lane) * _AHEAD_SECONDS))
    return ahead - member.outstanding[lane]
