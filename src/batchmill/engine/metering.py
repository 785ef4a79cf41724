"""Metering: the records of a shard, counted by model and region, as the ledger wants them."""

from collections.abc import Sequence
from operator import attrgetter

from batchmill.domain.ledger import Entry, Meter, Terms
from batchmill.domain.money import UNITS
from batchmill.domain.shards import Shard
from batchmill.domain.usage import ZERO, Usage
from batchmill.ports import Record
from batchmill.telemetry import MoneyMetrics

_KIND = attrgetter("model", "region")
_REGION = attrgetter("region")


class Meters:
    """The meters of a shard: one for each model and region that settled a line of it."""

    def __init__(self, terms: Terms, shard: Shard) -> None:
        self._terms = terms
        self._shard = shard
        self._meters: dict[tuple[int, str], Meter] = {}

    def count(self, records: Sequence[Record]) -> None:
        """Count settled lines."""
        kinds = self._kinds_of(records)
        for kind in kinds:
            mine = records if len(kinds) == 1 else [one for one in records if _KIND(one) == kind]
            (self._meters.get(kind) or self._make(*kind)).add(mine)

    def _kinds_of(self, records: Sequence[Record]) -> set[tuple[int, str]]:
        if len(self._shard.models) > 1:
            return set(map(_KIND, records))
        # Of one model, as nearly all are: no pair is made for each line.
        return {(0, region) for region in set(map(_REGION, records))}

    def _make(self, model: int, region: str) -> Meter:
        shard = self._shard
        meter = self._terms.meter(shard.batch_id, shard.index, shard.models[model], region)
        self._meters[model, region] = meter
        return meter

    @property
    def calls(self) -> int:
        """How many lines were counted."""
        return sum(meter.calls for meter in self._meters.values())

    def price(self) -> int:
        """What the lines so far cost, in units."""
        return sum(meter.price() for meter in self._meters.values())

    def read(self) -> tuple[Entry, ...]:
        """The entries so far, in the order of the models and then of the regions' names."""
        return tuple(meter.read() for _, meter in sorted(self._meters.items(), key=_key))


def _key(item: tuple[tuple[int, str], Meter]) -> tuple[int, str]:
    return item[0]


def entries_of(terms: Terms, shard: Shard, records: Sequence[Record]) -> tuple[Entry, ...]:
    """What the settled lines of a shard used and cost, one entry a model and region."""
    meters = Meters(terms, shard)
    meters.count(records)
    return meters.read()


class Odometer:
    """Tells the metrics what meters have counted since it last looked.

    What they held when it was made is not told: an earlier attempt was there
    to see it.
    """

    def __init__(self, meters: Meters) -> None:
        self._seen = {(entry.model, entry.region): entry for entry in meters.read()}

    def tell(self, meters: Meters, metrics: MoneyMetrics) -> None:
        """Add what is new to the counters."""
        for after in meters.read():
            before = self._seen.get((after.model, after.region))
            self._seen[after.model, after.region] = after
            if before is None or after.calls != before.calls:
                _tell_tokens(ZERO if before is None else before.usage, after, metrics)
            spent = after.price - (0 if before is None else before.price)
            if after.currency is not None and spent > 0:
                spend = metrics.spend.labels(model=after.model, currency=after.currency)
                spend.inc(spent / UNITS)


def _tell_tokens(before: Usage, after: Entry, metrics: MoneyMetrics) -> None:
    for kind in ("input", "output", "cached", "reasoning"):
        fresh = getattr(after.usage, kind) - getattr(before, kind)
        metrics.tokens.labels(model=after.model, kind=kind).inc(fresh)
