"""Who is there: the workers, heard of all the time, and the slots that each may use.

A dispatcher gives slots while it is sure to lead. It proves that by writing to
the store. A store that is away says nothing of who leads: then the fleet's word
will do for a while, since whoever keeps it would not leave a dispatcher that is
cut off in contact. Without either it gives none, and what it gave ends with its
leases, before another one gives the same slots away.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from contextlib import suppress

from batchmill.cluster.link import Fleet, Gone, Letter, Link, Register, Unreachable, Word
from batchmill.cluster.member import Member
from batchmill.domain.errors import Superseded
from batchmill.domain.sharing import Grant, Grants, Outlet
from batchmill.ports import Clock, Orders
from batchmill.telemetry import Fact, get_logger

log = get_logger()

_BEAT_SECONDS = 1.0
_BREATH_SECONDS = 0.05

# Shares of the time after which a silent worker is fenced: its lease is out by then, and what
# was in flight is over; so its slots are free when its shards are handed to others. Several
# beats go into a lease, so that one which is late costs nothing, and so does a new dispatcher
# that comes in time. A worker keeps its slots for the linger after its lease, and no longer:
# from then on what is left of the patience is for what was sent to come back aborted, and a
# proof that is as old as can be is not good any more when the slots become free.
_BEAT_SHARE = 0.1
_LEASE_SHARE = 0.6
_PATIENCE_SHARE = 0.25
LINGER_SHARE = 0.1
_PROOF_SHARE = 0.15
_DOUBT_SHARE = 12.0
_HAIL_SHARE = 0.3

# A worker that cannot be reached is asked again so often before its runs go to others.
_TRIES = 3
_TRY_SECONDS = 0.3


class Muster:
    """The workers of a fleet, for the dispatcher of one epoch.

    ``caps`` and ``even`` are those of ``Grants``. ``monotonic`` is a clock that
    never goes back, in seconds; ``broke`` names the batches of which nothing
    more may be sent. ``on_lost`` is told of a worker whose runs belong to
    nobody now.
    """

    def __init__(
        self,
        fleet: Fleet,
        register: Register,
        *,
        epoch: int,
        caps: Mapping[Outlet, int],
        even: Container[Outlet] = (),
        broke: Callable[[], frozenset[str]],
        clock: Clock,
        monotonic: Callable[[], float],
        fence_after: float,
    ) -> None:
        self.epoch = epoch
        self.members: dict[str, Member] = {}
        self.on_lost: Callable[[Member], None] = lambda _: None
        self._fleet = fleet
        self._register = register
        self._caps = caps
        self._broke = broke
        self._clock = clock
        self._monotonic = monotonic
        self._fence_after = fence_after
        self._pause = min(_BEAT_SECONDS, _BEAT_SHARE * fence_after)
        self._grants = Grants(
            caps,
            epoch=epoch,
            lease=_LEASE_SHARE * fence_after,
            patience=_PATIENCE_SHARE * fence_after,
            strangers=fence_after,
            now=monotonic(),
            even=even,
        )
        self._registered: frozenset[str] = frozenset()
        # Processes that may still hold a lease, although nobody speaks to them any more.
        self._departed: dict[str, float] = {}
        self._proved_at = -math.inf
        self._looked_at = -math.inf
        self._is_over = False
        self._hurry = asyncio.Event()
        self._unproved = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._speaking: list[asyncio.Task[None]] = []
        self._kills: set[asyncio.Task[None]] = set()

    # --- from the beginning to the end ---

    async def assemble(self) -> Mapping[str, Word]:
        """What the workers that there are already say; those that do not answer are left out.

        Raises Unreachable, Superseded, and what the store raises.
        """
        self._registered = await self._register.read()
        self._enlist(await self._fleet.links(make=False))
        words = await asyncio.gather(*(self._hail(one) for one in self.members.values()))
        heard = {name: word for name, word in zip(self.members, words, strict=True) if word}
        unheard = self._registered - {word.process for word in heard.values()}
        self._departed = dict.fromkeys(unheard, self._monotonic() + self._fence_after)
        if not unheard:
            self._grants.all_known()
        return heard

    async def _hail(self, member: Member) -> Word | None:
        """Its first word, unless it takes too long."""
        try:
            async with asyncio.timeout(_HAIL_SHARE * self._fence_after):
                word = await member.link.beat(Letter(Orders(self._grants.greeting)))
        except (Unreachable, Gone, TimeoutError):
            return None
        member.process = word.process
        self._note(word)
        return word

    def start(self) -> None:
        """Look for workers and speak to them until ``close``."""
        self._looking = asyncio.create_task(self._repeat(self._look, asyncio.Event()))
        self._speaking = [
            asyncio.create_task(self._repeat(self._prove, self._unproved)),
            asyncio.create_task(self._repeat(self._beat, self._hurry)),
        ]

    async def stop_looking(self) -> None:
        """Make no more workers; those that there are hear on."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def dismiss(self) -> None:
        """Every worker was ended: unless one may hold a lease still, the next dispatcher may know.

        Raises what the store raises.
        """
        for task in self._speaking:
            task.cancel()
        await asyncio.gather(*self._speaking, return_exceptions=True)
        self._departed = {n: at for n, at in self._departed.items() if at > self._monotonic()}
        if not self._is_over:
            await self._register.write(frozenset(self._departed))

    async def close(self) -> None:
        """Speak to nobody any more."""
        await self.stop_looking()
        calls = [one.call for one in self.members.values() if one.call is not None]
        tasks = [*self._speaking, *calls, *self._kills]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- what the cluster asks ---

    @property
    def ready(self) -> list[Member]:
        """The workers that shards may be handed to."""
        return [] if self._is_over else [one for one in self.members.values() if one.is_ready]

    def hurry(self) -> None:
        """The shares may have changed: do not wait for the next beat."""
        self._hurry.set()

    def expect(self, member: Member, lanes: Iterable[str], lines: int) -> None:
        """A worker is being handed lines: it will need slots."""
        for lane in lanes:
            self._grants.expect(member.process, lane, lines)
        self._hurry.set()

    async def is_still(self, member: Member, process: str) -> bool:
        """Whether the process is there after all that could not be reached; raises Gone."""
        member.is_away = True
        for _ in range(_TRIES):
            with suppress(Unreachable):
                word = await member.link.beat(Letter(Orders(self._grants.greeting)))
                return word.process == process
            await self._clock.sleep(_TRY_SECONDS)
        return False

    def slots(self) -> tuple[tuple[Outlet, int, int], ...]:
        """Of each outlet the slots that are given away, and all; for people to look at."""
        held = self._grants.held()
        return tuple((outlet, held.get(outlet, 0), cap) for outlet, cap in self._caps.items())

    # --- the rounds ---

    async def _repeat(self, work: Callable[[], Awaitable[None]], hurry: asyncio.Event) -> None:
        """Do it at every beat, and when told to hurry. A trouble that lasts is told once."""
        told: type[Exception] | None = None
        while True:
            hurry.clear()
            try:
                await work()
                told = None
            except Exception as error:
                if type(error) is not told:
                    log.exception(Fact.BEAT_FAILED)
                told = type(error)
            await self._rest(hurry)

    async def _rest(self, hurry: asyncio.Event) -> None:
        await self._clock.sleep(_BREATH_SECONDS)
        pause = asyncio.ensure_future(self._clock.sleep(self._pause))
        hurried = asyncio.ensure_future(hurry.wait())
        try:
            await asyncio.wait({pause, hurried}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
            hurried.cancel()

    async def _prove(self) -> None:
        """Write down who may hold a lease, which only the dispatcher that leads can do."""
        if self._is_over:
            return
        began = self._monotonic()
        self._departed = {name: at for name, at in self._departed.items() if at > began}
        here = (one.process for one in self.members.values() if one.process)
        processes = frozenset((*here, *self._departed))
        try:
            await self._register.write(processes)
        except Superseded:
            self._give_way()
            return
        self._proved_at = began
        if processes != self._registered:
            self._registered = processes
            self._hurry.set()

    async def _look(self) -> None:
        """Notice which workers came and went; make those that are missing, while it leads."""
        if self._is_over:
            return
        began = self._monotonic()
        links = await self._fleet.links(make=self._is_proved)
        self._looked_at = began
        for name in self.members.keys() - links.keys():
            self._discharge(name)
        self._enlist(links)

    def _enlist(self, links: Mapping[str, Link]) -> None:
        for name, link in links.items():
            if name in self.members and self.members[name].link is not link:
                self._discharge(name)
            if name not in self.members:
                self.members[name] = Member(name, link, heard_at=self._monotonic())
                self._hurry.set()

    def _discharge(self, name: str) -> None:
        """Its place has no worker, or another one."""
        member = self.members.pop(name)
        if member.call is not None:
            member.call.cancel()
        self._lose(member)

    async def _beat(self) -> None:
        """Speak to every worker that has answered the last time."""
        if self._is_over:
            return
        now = self._monotonic()
        grants = self._grants.next_grants(now) if self._may_grant else {}
        for member in self.members.values():
            if member.call is None or member.call.done():
                grant = grants.get(member.process, self._grants.greeting)
                member.call = asyncio.create_task(self._speak(member, grant))
            elif now - member.heard_at > self._fence_after:
                self._fence(member, now)

    async def _speak(self, member: Member, grant: Grant) -> None:
        told, drop = tuple(member.told), tuple(member.drop)
        letter = Letter(Orders(grant, self._broke()), told, drop)
        try:
            word = await member.link.beat(letter)
        except Superseded:
            self._give_way()
        except Unreachable:
            self._miss(member)
        except Gone:
            await self._fleet.forget(member.name)
            if self.members.get(member.name) is member:
                del self.members[member.name]
            self._lose(member)
        except Exception:
            log.exception(Fact.BEAT_FAILED, worker=member.name)
            self._miss(member)
        else:
            member.told.difference_update(told)
            self._hear(member, word)

    @property
    def _is_proved(self) -> bool:
        """Whether it is sure that this dispatcher led a moment ago."""
        return self._monotonic() - self._proved_at <= _PROOF_SHARE * self._fence_after

    @property
    def _may_grant(self) -> bool:
        """Whether nobody else can have given the same slots away."""
        if self._is_proved:
            return True
        now = self._monotonic()
        is_in_contact = now - self._looked_at <= _PROOF_SHARE * self._fence_after
        return is_in_contact and now - self._proved_at <= _DOUBT_SHARE * self._fence_after

    def _give_way(self) -> None:
        """Another dispatcher leads: the workers are its own."""
        self._is_over = True
        self._proved_at = -math.inf
        for member in self.members.values():
            self.on_lost(member)

    def _hear(self, member: Member, word: Word) -> None:
        now = self._monotonic()
        if member.process and word.process != member.process:
            self._lose(member, free_at=now)
        is_new = member.process != word.process
        member.process = word.process
        member.hear(word, now)
        self._note(word)
        if is_new:
            self._unproved.set()
        if self._grants.is_moving:
            self._hurry.set()

    def _note(self, word: Word) -> None:
        """Only who is written down gets slots: the next dispatcher must know of them."""
        if word.process in self._registered:
            self._grants.note(word.report.load, self._monotonic())

    def _miss(self, member: Member) -> None:
        member.is_away = True
        now = self._monotonic()
        if now - member.heard_at > self._fence_after:
            self._fence(member, now)

    def _fence(self, member: Member, now: float) -> None:
        """It was silent for too long: its runs are others' now, and its lease is out."""
        if not member.process or member.is_fenced:
            return
        log.warning(Fact.WORKER_FENCED, worker=member.name, seconds=now - member.heard_at)
        member.is_fenced = True
        self._lose(member)
        if self._is_proved:
            kill = asyncio.create_task(member.link.kill(for_good=False))
            self._kills.add(kill)
            kill.add_done_callback(self._kills.discard)

    def _lose(self, member: Member, free_at: float | None = None) -> None:
        """Its runs are nobody's. Its slots are free at ``free_at``, or when its lease is out."""
        if member.process:
            self._grants.lost(member.process, free_at)
            if free_at is None:
                self._departed[member.process] = self._monotonic() + self._fence_after
        self.on_lost(member)
