"""Usage, spending, monitoring and caps, side by side: for the door."""

from dataclasses import dataclass

from batchmill.domain.pricing import NO_PRICES, PriceTable
from batchmill.ports import Clock, Store
from batchmill.service.caps import Caps
from batchmill.service.monitoring import Monitoring
from batchmill.service.trends import Trends
from batchmill.service.usage import UsageReports


@dataclass(frozen=True, slots=True)
class Accounting:
    """The use-cases of what is used and what it costs."""

    reports: UsageReports
    monitoring: Monitoring
    caps: Caps
    trends: Trends


def make_accounting(store: Store, clock: Clock, prices: PriceTable = NO_PRICES) -> Accounting:
    """The use-cases over a store."""
    reports = UsageReports(store=store, clock=clock)
    return Accounting(
        reports=reports,
        monitoring=Monitoring(store=store, clock=clock),
        caps=Caps(store=store, clock=clock, prices=prices),
        trends=Trends(reports),
    )
