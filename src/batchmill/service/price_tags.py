"""Price tags: what a model costs, as a person compares prices. Pure.

A bill is counted by ``Tariff``; this only says the same for a million tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from batchmill.domain.pricing import Rates, Tariff

_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """What a million tokens of each kind cost, in units (see ``money``)."""

    input: int
    output: int
    thinking: int
    cached: int


@dataclass(frozen=True, slots=True)
class TierPrice:
    """Prices of lines with at most ``up_to`` input tokens, None without end: plain and batch."""

    up_to: int | None
    list_price: TokenPrices
    batch_price: TokenPrices


@dataclass(frozen=True, slots=True)
class PriceTag:
    """The tiers of a model. ``share`` is paid of a list price in a batch, in thousandths."""

    currency: str
    share: int
    tiers: tuple[TierPrice, ...]


def price_tag(tariff: Tariff | None) -> PriceTag | None:
    """The tag of a tariff; None where nothing is priced."""
    if tariff is None:
        return None
    tiers = tuple(
        TierPrice(
            up_to=rates.up_to,
            list_price=_per_million(rates, lambda units: units),
            batch_price=_per_million(rates, tariff.discounted),
        )
        for rates in tariff.rates
    )
    return PriceTag(tariff.currency, tariff.share, tiers)


def _per_million(rates: Rates, paid: Callable[[int], int]) -> TokenPrices:
    return TokenPrices(
        input=paid(rates.input * _MILLION),
        output=paid(rates.output * _MILLION),
        thinking=paid(rates.thinking * _MILLION),
        cached=paid(rates.cached * _MILLION),
    )
