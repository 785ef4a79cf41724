"""Metering: the records of a shard, counted by model, as the ledger wants them."""

from collections.abc import Iterable, Sequence

from batchmill.domain.ledger import Entry, Meter, Terms
from batchmill.domain.money import UNITS
from batchmill.domain.shards import Shard
from batchmill.domain.usage import Usage
from batchmill.ports import Record
from batchmill.telemetry import MoneyMetrics


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
        retries=record.retries,
    )


def entries_of(terms: Terms, shard: Shard, records: Iterable[Record]) -> tuple[Entry, ...]:
    """What the settled lines of a shard used and cost, one entry a model."""
    meters = meters_of(terms, shard)
    for record in records:
        count(meters, record)
    return tuple(meter.read() for meter in meters if meter.calls)


class Odometer:
    """Tells the metrics what meters have counted since it last looked.

    What they held when it was made is not told: an earlier attempt was there
    to see it.
    """

    def __init__(self, meters: Sequence[Meter]) -> None:
        self._seen = [meter.read() for meter in meters]

    def tell(self, meters: Sequence[Meter], metrics: MoneyMetrics) -> None:
        """Add what is new to the counters."""
        for place, meter in enumerate(meters):
            before, after = self._seen[place], meter.read()
            self._seen[place] = after
            if after.calls != before.calls:
                _tell_tokens(before.usage, after.usage, after.model, metrics)
            if after.currency is not None and after.price > before.price:
                spend = metrics.spend.labels(model=after.model, currency=after.currency)
                spend.inc((after.price - before.price) / UNITS)


def _tell_tokens(before: Usage, after: Usage, model: str, metrics: MoneyMetrics) -> None:
    for kind in ("input", "output", "cached", "reasoning"):
        fresh = getattr(after, kind) - getattr(before, kind)
        metrics.tokens.labels(model=model, kind=kind).inc(fresh)
