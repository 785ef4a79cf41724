"""Prices: what a line costs. Exact, and pure.

A table holds a price per model and day from which it is valid; a tariff is
what of it holds for one batch: the model's tiers and the discount. The price
of a line is chosen by that line's own input length. Rules: decisions.md
"Money" of the contract; prices are per million tokens.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from functools import cached_property

from batchmill.domain.catalog import TEST_MODEL
from batchmill.domain.money import units_per_token
from batchmill.domain.usage import Usage

HALF = Decimal("0.5")
_WHOLE = 1_000


class Item(StrEnum):
    """The lines of a bill, named as the vendor names them."""

    INPUT = "input_token_batch"
    OUTPUT = "output_token_batch"
    THINKING_INPUT = "thinking_input_token_batch"
    THINKING_OUTPUT = "thinking_output_token_batch"
    EMBEDDING = "embedding_token_batch"


@dataclass(frozen=True, slots=True)
class Tier:
    """Prices for lines of at most ``up_to`` input tokens; None is without end.

    ``thinking_output`` None means that thinking costs what other output costs;
    ``cached_input`` None that cached input costs what other input costs.
    """

    input: Decimal
    output: Decimal = Decimal(0)
    thinking_output: Decimal | None = None
    cached_input: Decimal | None = None
    up_to: int | None = None


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What a model costs from ``valid_from`` (Unix seconds) on.

    ``tiers`` are in the order of their bounds; the last serves whatever is
    longer. ``discount`` None takes the table's; ``windows`` goes before both.
    """

    model: str
    currency: str
    tiers: tuple[Tier, ...]
    valid_from: float = 0.0
    discount: Decimal | None = None
    windows: Mapping[int, Decimal] = field(default_factory=dict)


@dataclass(frozen=True)
class PriceTable:
    """All prices. ``version`` names this very table, for good.

    ``discount`` is the share taken off for batches; ``windows`` holds other
    shares by the completion window in seconds.
    """

    version: str = "none"
    prices: tuple[ModelPrice, ...] = ()
    discount: Decimal = HALF
    windows: Mapping[int, Decimal] = field(default_factory=dict)
    stack_discounts: bool = False

    @cached_property
    def models(self) -> frozenset[str]:
        """The models that have a price."""
        return frozenset(price.model for price in self.prices)

    def tariff(self, model: str, *, at: float, window: int) -> "Tariff | None":
        """What holds for a batch that was created ``at``; None where the model has no price.

        ``window`` is the batch's completion window in seconds. The test model is free.
        """
        if model == TEST_MODEL:
            return None
        valid = [p for p in self.prices if p.model == model and p.valid_from <= at]
        if not valid:
            return None
        price = max(valid, key=lambda one: one.valid_from)
        return Tariff(
            currency=price.currency,
            rates=tuple(_rates(tier, self.stack_discounts) for tier in price.tiers),
            share=_WHOLE - int(self._discount(price, window) * _WHOLE),
        )

    def _discount(self, price: ModelPrice, window: int) -> Decimal:
        for windows in (price.windows, self.windows if price.discount is None else {}):
            if window in windows:
                return windows[window]
        return self.discount if price.discount is None else price.discount


NO_PRICES = PriceTable()


@dataclass(frozen=True, slots=True)
class Rates:
    """A tier in units a token; ``cached`` is what a cached token costs."""

    input: int
    output: int
    thinking: int
    cached: int
    up_to: int | None = None


@dataclass(frozen=True, slots=True)
class Tariff:
    """What holds for a model in one batch. ``share`` is paid of a list price, in thousandths."""

    currency: str
    rates: tuple[Rates, ...]
    share: int = _WHOLE // 2

    def tier_of(self, input_tokens: int) -> int:
        """The index of the tier for a line of that many input tokens."""
        if len(self.rates) == 1:
            return 0
        bounds = [one.up_to for one in self.rates if one.up_to is not None]
        return min(bisect_left(bounds, input_tokens), len(self.rates) - 1)

    def line_price(self, usage: Usage, *, thinks: bool) -> int:
        """What one successful line costs in a batch, in units."""
        rates = self.rates[self.tier_of(usage.input)]
        return (
            (input_price(rates, usage) + output_price(rates, usage, thinks=thinks))
            * (self.share)
            // _WHOLE
        )

    def discounted(self, list_price: int) -> int:
        """The batch price of a list price. Exact: units are divisible by what shares divide."""
        return list_price * self.share // _WHOLE


def input_price(rates: Rates, usage: Usage) -> int:
    """The list price of the input of lines of one tier, in units."""
    return (usage.input - usage.cached) * rates.input + usage.cached * rates.cached


def output_price(rates: Rates, usage: Usage, *, thinks: bool) -> int:
    """The list price of the output of lines of one tier, in units."""
    return usage.output * (rates.thinking if thinks else rates.output)


def _rates(tier: Tier, stack_discounts: bool) -> Rates:
    thinking = tier.output if tier.thinking_output is None else tier.thinking_output
    is_cheaper = stack_discounts and tier.cached_input is not None
    cached = tier.cached_input if is_cheaper and tier.cached_input is not None else tier.input
    return Rates(
        input=units_per_token(tier.input),
        output=units_per_token(tier.output),
        thinking=units_per_token(thinking),
        cached=units_per_token(cached),
        up_to=tier.up_to,
    )
