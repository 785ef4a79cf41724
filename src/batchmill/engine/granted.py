"""A worker that shares the slots of its upstreams with the workers of other processes.

It uses what the dispatcher has granted it, for as long as its lease is good,
and gives its shards up when the lease has been out for so long that the
dispatcher takes it for gone.
"""

from collections.abc import Callable, Mapping

from batchmill.domain.sharing import Grant, Load, Outlet
from batchmill.engine.lane import Lane
from batchmill.engine.lease import Lease
from batchmill.engine.remote_purse import RemotePurses
from batchmill.engine.worker import LocalWorker
from batchmill.ports import Orders, ShardEnd, ShardRun, WorkerReport
from batchmill.telemetry import Fact, get_logger

log = get_logger()


class GrantedSlots:
    """The slots that this process may use, on lanes that ``lane_of`` finds or makes.

    ``process`` is its name in grants and reports: another one each time it is
    started. A lane has no slots before the first grant.
    """

    def __init__(self, process: str, lane_of: Callable[[str], Lane], lease: Lease) -> None:
        self.process = process
        self.lease = lease
        self._find_lane = lane_of
        self._lanes: set[Lane] = set()
        self._heard = (0, 0)
        self._slots: Mapping[Outlet, int] = {}

    def lane_of(self, model: str) -> Lane:
        """The lane of ``model``, which sends nothing but on granted slots."""
        lane = self._find_lane(model)
        if lane not in self._lanes:
            self._lanes.add(lane)
            lane.put_under(self.lease)
            lane.set_slots(self._slots)
        return lane

    def obey(self, grant: Grant) -> bool:
        """Use what is granted from now on; False where a later grant was heard of already."""
        if (grant.epoch, grant.number) <= self._heard:
            return False
        self._heard = (grant.epoch, grant.number)
        if grant.process == self.process:
            self.lease.until = grant.until
            self._slots = grant.slots
            for lane in self._lanes:
                lane.set_slots(grant.slots)
        return True

    def load(self) -> Load:
        """What is held and needed now; held are slots for a moment longer than they are used.

        So the next dispatcher renews what ran out while there was none.
        """
        in_flight: dict[Outlet, int] = {}
        for lane in self._lanes:
            in_flight |= lane.shared_in_flight()
        outstanding = {lane.model: lane.outstanding() for lane in self._lanes}
        epoch, number = self._heard
        return Load(
            process=self.process,
            clock=self.lease.clock(),
            epoch=epoch,
            number=number,
            slots=self._slots if self.lease.is_held else {},
            in_flight=in_flight,
            outstanding={model: lines for model, lines in outstanding.items() if lines},
        )


class GrantedWorker:
    """A ``LeasedWorker``: ``worker`` under orders.

    ``slots`` and ``purses`` are those that ``worker`` was made with. It gives
    up what it runs once its lease has lapsed.
    """

    def __init__(self, worker: LocalWorker, slots: GrantedSlots, purses: RemotePurses) -> None:
        self._worker = worker
        self._slots = slots
        self._purses = purses

    def obey(self, orders: Orders) -> WorkerReport:
        """Carry out orders at once, unless later ones came before; what is so now."""
        self._give_up_if_lapsed()
        if self._slots.obey(orders.grant):
            self._purses.set_broke(orders.broke)
        return WorkerReport(self._slots.load(), self._worker.settled())

    async def mind_lease(self) -> None:
        """Stop every run whose lines may no longer be in flight: to be called all the time."""
        self._give_up_if_lapsed()

    def _give_up_if_lapsed(self) -> None:
        lease = self._slots.lease
        if lease.is_lapsed:
            lease.forget()
            log.warning(Fact.LEASE_LAPSED, shards=self._worker.give_up())

    async def run(self, run: ShardRun) -> ShardEnd:
        """As ``LocalWorker.run``."""
        return await self._worker.run(run)

    async def cancel(self, batch_id: str, grace: float) -> None:
        """Send nothing more of this batch; abort what is in flight after ``grace`` seconds."""
        await self._worker.cancel(batch_id, grace)

    def wanted(self, model: str) -> int:
        """How many more lines this model's granted slots could use now."""
        return self._worker.wanted(model)

    async def stop(self, grace: float) -> None:
        """Stop sending, wait up to ``grace`` for what is in flight, then abort it."""
        await self._worker.stop(grace)
