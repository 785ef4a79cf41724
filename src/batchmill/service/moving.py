"""Moving a server's data to other stores, without losing what it is in the middle of.

Bytes go first, then the journals of unfinished batches, then all rows at once.
Nothing is taken away from the source, which serves until the move is written
down as ended. A move that was cut off is made again, and skips the blobs that
are there.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from batchmill.domain.errors import Conflict
from batchmill.domain.shards import Shard
from batchmill.ports import Journal, Store
from batchmill.ports.moving import (
    Damage,
    Inventory,
    MoveLog,
    MoveWatch,
    NamedBlob,
    RowMove,
    Stage,
    Weight,
)
from batchmill.service.carrying import (
    Damaged,
    Places,
    assert_knows_all,
    carry_blob,
    carry_shard,
    for_each,
    is_there,
    weigh_settled,
)

_NAMED_DAMAGES: Final = 3


@dataclass(frozen=True, slots=True)
class Freight:
    """What there is to move, or what was moved: rows by table, blobs, shards' journals.

    ``rows`` is None where the database stays, ``blobs`` and ``journals`` where
    the bytes do. ``present`` are the blobs that were there from an earlier move.
    """

    rows: Mapping[str, int] | None = None
    blobs: Weight | None = None
    journals: Weight | None = None
    present: Weight | None = None
    left: Sequence[Damage] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where everything is: the database that the rows are in, and the bytes that they name."""

    store: Store
    inventory: Inventory
    places: Places


@dataclass(frozen=True, slots=True)
class Route:
    """From where to where: ``target`` is None where the bytes stay, ``rows`` where the rows do."""

    origin: Origin
    target: Places | None
    rows: RowMove | None
    log: MoveLog


async def weigh_freight(origin: Origin, *, rows: bool, bytes_too: bool) -> Freight:
    """What there is to move of rows and bytes; nothing is written."""
    counts = await origin.inventory.count() if rows else None
    if not bytes_too:
        return Freight(counts)
    journals = _Tally()
    async for shard in _begun_shards(origin.store):
        settled = await origin.places.journal.read(shard.batch_id, shard.index)
        journals.add(weigh_settled(settled))
    return Freight(counts, await origin.inventory.weigh(), journals.weight())


class Mover:
    """Moves along a route."""

    def __init__(self, route: Route, watch: MoveWatch, *, leave_damaged: bool = False) -> None:
        self._route = route
        self._origin = route.origin
        self._watch = watch
        self._leave_damaged = leave_damaged

    async def run(self) -> Freight:
        """Move, and write down that it has ended; what was moved.

        Raises Conflict where the target is in use or bytes are damaged,
        StorageAway and StorageFull: the source is as it was then.
        """
        route = self._route
        if route.rows is not None:
            await route.rows.check()
        await route.log.begin()
        freight = Freight()
        if route.target is not None:
            freight = await self._move_bytes(route.target)
        if route.rows is not None:
            freight = await self._move_rows(route.rows, freight)
        await route.log.end()
        if route.rows is not None:
            await route.rows.release()
        return freight

    async def _move_bytes(self, target: Places) -> Freight:
        inventory = self._origin.inventory
        carrier = _BlobCarrier(self._origin.places, target, self._watch)
        self._watch.begin(Stage.BLOBS, (await inventory.weigh()).bytes)
        await for_each(inventory.named(), carrier.carry)
        if carrier.damages and not self._leave_damaged:
            raise _refuse_damages(carrier.damages)
        journals = await self._move_journals(target.journal)
        return Freight(
            blobs=carrier.moved.weight(),
            journals=journals,
            present=carrier.present.weight(),
            left=tuple(carrier.damages),
        )

    async def _move_journals(self, target: Journal) -> Weight:
        source = self._origin.places.journal
        shards = [shard async for shard in _begun_shards(self._origin.store)]
        self._watch.begin(Stage.JOURNALS, len(shards))
        await self._make_room(shards, target)
        moved = _Tally()

        async def carry(shard: Shard) -> None:
            moved.add(await carry_shard(shard, source, target))
            self._watch.advance(1)

        await for_each(_each_of(shards), carry)
        return moved.weight()

    async def _make_room(self, shards: Sequence[Shard], target: Journal) -> None:
        """Remove what a move left that was cut off; raises Conflict where it is more than that.

        The journals of batches that have ended meanwhile a server's sweep removes.
        """
        held = set(await target.held())
        there = [shard for shard in shards if shard.batch_id in held]
        for shard in there:
            await assert_knows_all(shard, self._origin.places.journal, target)
        for batch_id in {shard.batch_id for shard in there}:
            await target.drop(batch_id)

    async def _move_rows(self, rows: RowMove, freight: Freight) -> Freight:
        total = sum((await self._origin.inventory.count()).values())
        self._watch.begin(Stage.ROWS, total)
        counts = await rows.copy(lambda _, count: self._watch.advance(count))
        return replace(freight, rows=counts)


async def _begun_shards(store: Store) -> AsyncIterator[Shard]:
    """The shards that may have results: those of unfinished batches that were handed out."""
    for batch in await store.batches.unfinished():
        for shard in await store.shards.of_batch(batch.id):
            if shard.attempt:
                yield shard


@dataclass(slots=True)
class _Tally:
    count: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.count += 1
        self.bytes += size

    def weight(self) -> Weight:
        return Weight(self.count, self.bytes)


@dataclass(slots=True)
class _BlobCarrier:
    """Carries blobs and keeps the count of what became of them."""

    source: Places
    target: Places
    watch: MoveWatch
    moved: _Tally = field(default_factory=_Tally)
    present: _Tally = field(default_factory=_Tally)
    damages: list[Damage] = field(default_factory=list)

    async def carry(self, named: NamedBlob) -> None:
        """Copy a blob unless it is there; a damaged one is noted and left."""
        if await is_there(self.target.blobs, named):
            self.present.add(named.bytes)
            self.watch.advance(named.bytes)
            return
        try:
            await carry_blob(named, self.source.blobs, self.target.blobs, self.watch.advance)
        except Damaged as damage:
            self.damages.append(Damage(named.owner, str(damage)))
        else:
            self.moved.add(named.bytes)


async def _each_of(shards: Sequence[Shard]) -> AsyncIterator[Shard]:
    for shard in shards:
        yield shard


def _refuse_damages(damages: Sequence[Damage]) -> Conflict:
    first = "; ".join(f"{one.owner}: {one.what}" for one in damages[:_NAMED_DAMAGES])
    more = f"; and {len(damages) - _NAMED_DAMAGES} more" if len(damages) > _NAMED_DAMAGES else ""
    return Conflict(
        f"Not every file can be moved ({first}{more}). Delete them, or leave their bytes behind "
        "with --leave-damaged; nothing was changed in the source."
    )
