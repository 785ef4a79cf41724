"""Metering: the records of a shard, counted by model, as the ledger wants them."""

from collections.abc import Iterable, Sequence

from batchmill.domain.ledger import Entry, Meter, Terms
from batchmill.domain.shards import Shard
from batchmill.ports import Record


def meters_of(terms: Terms, shard: Shard) -> list[Meter]:
    """A meter at zero for each model of the shard, in their order."""
    return [terms.meter(shard.batch_id, shard.index, model) for model in shard.models]


def count(meters: Sequence[Meter], record: Record) -> None:
    """Count a settled line."""
    meters[record.model].add(
        record.usage,
        ok=record.ok,
        thinks=record.thinks,
        millis=record.millis,
        rejections=record.rejections,
    )


def entries_of(terms: Terms, shard: Shard, records: Iterable[Record]) -> tuple[Entry, ...]:
    """What the settled lines of a shard used and cost, one entry a model."""
    meters = meters_of(terms, shard)
    for record in records:
        count(meters, record)
    return tuple(meter.read() for meter in meters if meter.calls)
