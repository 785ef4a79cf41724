"""Estimates: what a file will cost and how long it will take, before it is run. Pure.

Prices are by the tier of each line's own input, as the ledger charges them;
only the token counts are estimated. What cannot be told is None, and never a
guess that looks like a figure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from batchmill.domain.batch import LineError
from batchmill.domain.catalog import TEST_MODEL
from batchmill.domain.demand import NO_CAP, Demand, Thinking
from batchmill.domain.faults import price_faults
from batchmill.domain.pricing import Tariff

BYTES_PER_TOKEN: Final = 4
SAMPLE_LINES: Final = 256
SAMPLE_BYTES: Final = 8 * 1024 * 1024

# These read and answer no text: nobody pays for output.
_SILENT: Final = frozenset({"/v1/embeddings", "/v1/moderations", "/v1/rerank", "/v1/score"})


class Method(StrEnum):
    """Where a number of input tokens comes from, the best first."""

    TOKENIZER = "tokenizer"
    SAMPLE = "tokenizer_sample"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Price:
    """A price outside a batch and in one, in units."""

    list_price: int
    price: int

    def __add__(self, other: "Price") -> "Price":
        return Price(self.list_price + other.list_price, self.price + other.price)


@dataclass(frozen=True, slots=True)
class Output:
    """What the lines are answered with: tokens, and what these and the input cost together."""

    tokens: int
    price: Price | None


@dataclass(frozen=True, slots=True)
class ModelEstimate:
    """What the lines of one model come to. ``input`` is None where it has no price.

    ``expected`` goes by how long its answers were lately, ``most`` by how long
    the lines let them be; each is None where that is not known.
    """

    model: str
    lines: int
    input_tokens: int
    method: Method
    currency: str | None = None
    input: Price | None = None
    expected: Output | None = None
    most: Output | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """What all models of one currency come to; None where one of them is not known."""

    currency: str
    input: Price
    expected: Price | None
    most: Price | None


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a model runs now, in lines a second, and how many of its lines are unfinished."""

    lines_per_second: float | None
    lines_ahead: int = 0


@dataclass(frozen=True, slots=True)
class Duration:
    """How long it would take from now. Without ``seconds``, ``reason`` says why."""

    seconds: float | None = None
    lines_per_second: float | None = None
    lines_ahead: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """What the check of the file found. ``bad_lines`` counts; ``errors`` names them."""

    lines: int
    bad_lines: int
    errors: tuple[LineError, ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Everything that can be told before a batch is paid for. ``window`` is in seconds."""

    endpoint: str
    window: int
    checked: Checked
    price_version: str
    models: tuple[ModelEstimate, ...] = ()
    duration: Duration = field(default_factory=Duration)
    budget: int | None = None

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Models without a price; the test model is free, which is another thing."""
        return tuple(
            one.model for one in self.models if one.input is None and one.model != TEST_MODEL
        )

    @property
    def totals(self) -> tuple[Total, ...]:
        """The sums, by currency."""
        currencies = sorted({one.currency for one in self.models if one.currency is not None})
        return tuple(_total(currency, self.models) for currency in currencies)

    @property
    def fits_window(self) -> bool | None:
        """Whether it would be done in time."""
        seconds = self.duration.seconds
        return None if seconds is None else seconds <= self.window

    @property
    def fits_budget(self) -> bool | None:
        """Whether what is expected, or else the most, stays within the budget."""
        if self.budget is None or len(self.totals) != 1 or self.unpriced:
            return None
        (total,) = self.totals
        likely = total.expected or total.most
        if likely is not None:
            return likely.price <= self.budget
        return False if total.input.price > self.budget else None


def has_output(endpoint: str) -> bool:
    """Whether the endpoint's answers are tokens that are paid for."""
    return endpoint not in _SILENT


@dataclass(slots=True)
class _Sum:
    """Lines of one tier."""

    lines: int = 0
    input: int = 0
    most: int = 0


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is known besides the lines: ``mean_output`` is tokens an answer, lately."""

    tariff: Tariff | None
    thinking: Thinking = Thinking.UNSAID
    mean_output: float | None = None
    has_output: bool = True


def appraise(demand: Demand, counted: Mapping[int, int], given: Assumptions) -> ModelEstimate:
    """What the lines of a model come to; ``counted`` holds the tokens of sampled lines."""
    method = _method(demand, counted)
    sums: dict[int, _Sum] = {}
    for tokens, cap in zip(_input_tokens(demand, counted), demand.caps, strict=True):
        tier = given.tariff.tier_of(tokens) if given.tariff is not None else 0
        one = sums.setdefault(tier, _Sum())
        one.lines += 1
        one.input += tokens
        one.most += max(cap, 0)
    tariff = given.tariff
    return ModelEstimate(
        model=demand.model,
        lines=len(demand),
        input_tokens=sum(one.input for one in sums.values()),
        method=method,
        currency=None if tariff is None else tariff.currency,
        input=None if tariff is None else _priced(tariff, sums, {}, given, is_most=False),
        expected=_output(sums, _expected(sums, given), given, is_most=False),
        most=_output(sums, _most(demand, sums, given), given, is_most=True),
    )


def _method(demand: Demand, counted: Mapping[int, int]) -> Method:
    if not counted:
        return Method.BYTES
    return Method.TOKENIZER if len(counted) == len(demand) else Method.SAMPLE


def _input_tokens(demand: Demand, counted: Mapping[int, int]) -> Iterator[int]:
    """Each line's own tokens: counted, or by its bytes at the rate of the sample."""
    tokens = sum(counted.values())
    text = sum(demand.texts[index] for index in counted)
    if not tokens or not text:
        tokens, text = 1, BYTES_PER_TOKEN
    for index, size in enumerate(demand.texts):
        known = counted.get(index)
        yield -(-size * tokens // text) if known is None else known


def _expected(sums: Mapping[int, _Sum], given: Assumptions) -> Mapping[int, int] | None:
    if not given.has_output:
        return dict.fromkeys(sums, 0)
    if given.mean_output is None:
        return None
    return {tier: round(one.lines * given.mean_output) for tier, one in sums.items()}


def _most(demand: Demand, sums: Mapping[int, _Sum], given: Assumptions) -> Mapping[int, int] | None:
    if not given.has_output:
        return dict.fromkeys(sums, 0)
    if NO_CAP in demand.caps:
        return None
    return {tier: one.most for tier, one in sums.items()}


def _output(
    sums: Mapping[int, _Sum],
    tokens: Mapping[int, int] | None,
    given: Assumptions,
    *,
    is_most: bool,
) -> Output | None:
    if tokens is None:
        return None
    priced = None
    if given.tariff is not None:
        priced = _priced(given.tariff, sums, tokens, given, is_most=is_most)
    return Output(sum(tokens.values()), priced)


def _priced(
    tariff: Tariff,
    sums: Mapping[int, _Sum],
    output: Mapping[int, int],
    given: Assumptions,
    *,
    is_most: bool,
) -> Price:
    """The price of the input of all tiers, and of ``output`` tokens by tier."""
    whole = 0
    for tier, one in sums.items():
        rates = tariff.rates[tier]
        rate = rates.thinking if given.thinking is Thinking.ASKED else rates.output
        if is_most and given.thinking is Thinking.UNSAID:
            rate = max(rates.output, rates.thinking)  # some models think unasked
        whole += one.input * rates.input + output.get(tier, 0) * rate
    return Price(whole, tariff.discounted(whole))


def _total(currency: str, models: Iterable[ModelEstimate]) -> Total:
    own = [one for one in models if one.currency == currency]
    return Total(
        currency=currency,
        input=sum((one.input for one in own if one.input is not None), Price(0, 0)),
        expected=_whole([one.expected for one in own]),
        most=_whole([one.most for one in own]),
    )


def _whole(outputs: Sequence[Output | None]) -> Price | None:
    prices = [one.price for one in outputs if one is not None and one.price is not None]
    return sum(prices, Price(0, 0)) if len(prices) == len(outputs) else None


def foresee(models: Iterable[ModelEstimate], paces: Mapping[str, Pace]) -> Duration:
    """How long the slowest of the models takes for what is ahead and for these lines."""
    slowest = Duration(reason="The file has no line that could run.")
    for one in models:
        pace = paces.get(one.model, Pace(None))
        if not pace.lines_per_second:
            reason = f"Nothing of {one.model} runs now, so that its rate is not known."
            return Duration(lines_ahead=pace.lines_ahead, reason=reason)
        seconds = (pace.lines_ahead + one.lines) / pace.lines_per_second
        if slowest.seconds is None or seconds >= slowest.seconds:
            slowest = Duration(seconds, pace.lines_per_second, pace.lines_ahead)
    return slowest


def with_price_faults(found: Estimate) -> Estimate:
    """The same, with the reasons why a file that is good cannot be charged."""
    if found.checked.errors:
        return found
    currencies = [total.currency for total in found.totals]
    faults = price_faults(currencies, found.unpriced, has_budget=found.budget is not None)
    return replace(found, checked=replace(found.checked, errors=faults))
