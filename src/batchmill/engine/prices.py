"""The price book: what a batch's lines cost, by the table that was in force at its creation."""

from collections.abc import Sequence

from batchmill.domain.batch import Batch
from batchmill.domain.ledger import EMBEDDINGS, Terms
from batchmill.domain.limits import parse_duration
from batchmill.domain.price_table import restore_table
from batchmill.domain.pricing import NO_PRICES, PriceTable
from batchmill.ports import PriceStore


class PricesLost(Exception):
    """The store does not hold a price table that a batch was created under."""


class PriceBook:
    """Reads each price table once."""

    def __init__(self, prices: PriceStore) -> None:
        self._prices = prices
        self._tables = {NO_PRICES.version: NO_PRICES}

    async def terms(self, batch: Batch, models: Sequence[str]) -> Terms:
        """What lines of ``models`` cost in this batch; raises PricesLost."""
        table = await self._table(batch.price_version)
        window = parse_duration(batch.completion_window) or 0
        found = {model: table.tariff(model, at=batch.created_at, window=window) for model in models}
        return Terms(
            payer=batch.payer,
            price_version=batch.price_version,
            tariffs={model: tariff for model, tariff in found.items() if tariff is not None},
            is_embedding=batch.endpoint == EMBEDDINGS,
        )

    async def _table(self, version: str) -> PriceTable:
        if version not in self._tables:
            text = await self._prices.get(version)
            if text is None:
                raise PricesLost(f"the price table {version} is not in the store")
            self._tables[version] = restore_table(text)
        return self._tables[version]
