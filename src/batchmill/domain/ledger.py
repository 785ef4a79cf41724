"""The ledger: what was used and what it costs, one entry per batch, shard, model and region.

A ``Meter`` counts the settled lines of one model that one region served in one
shard; its ``read`` is the Entry that is stored when the shard closes, and is
then never changed.
Tokens are counted by tier and thinking mode, and prices are linear within
these, so that the entry is exact whatever the order of the lines.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from batchmill.domain.pricing import NO_PRICES, Item, Tariff, input_price, output_price
from batchmill.domain.usage import ZERO, Usage

EMBEDDINGS = "/v1/embeddings"


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose bill it goes on; ``key`` is None on a server without keys."""

    account: str
    workspace: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """Tokens of one line item, and what they cost in units."""

    item: Item
    tokens: int
    list_price: int
    price: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What a model's settled lines of a shard used and cost, as far as a region served them.

    ``calls`` counts settled lines, ``failures`` those of them that failed,
    ``rejections`` their 429 answers, ``retries`` how often they were sent
    again after a fault of any kind. ``millis`` sums the durations of the
    requests that settled them. ``usage`` and ``charges`` are of the successful
    lines alone. ``currency`` None says that the model has no price. ``region``
    is empty where its upstream names none, or no upstream answered.
    """

    batch_id: str
    shard: int
    model: str
    payer: Payer
    price_version: str
    currency: str | None = None
    calls: int = 0
    failures: int = 0
    rejections: int = 0
    retries: int = 0
    millis: int = 0
    usage: Usage = ZERO
    charges: tuple[Charge, ...] = ()
    region: str = ""

    @property
    def list_price(self) -> int:
        """What the lines would have cost outside a batch, in units."""
        return sum(charge.list_price for charge in self.charges)

    @property
    def price(self) -> int:
        """What is charged, in units."""
        return sum(charge.price for charge in self.charges)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a batch's lines cost, and who pays; ``tariffs`` lacks models without a price."""

    payer: Payer
    price_version: str = NO_PRICES.version
    tariffs: Mapping[str, Tariff] = field(default_factory=dict)
    is_embedding: bool = False

    def meter(self, batch_id: str, shard: int, model: str, region: str = "") -> "Meter":
        """A meter for one model and region in one shard, at zero."""
        blank = Entry(batch_id, shard, model, self.payer, self.price_version, region=region)
        return Meter(blank, self.tariffs.get(model), self.is_embedding)


class Metered(Protocol):
    """A settled line, as far as it is counted; ``thinks`` is what ``is_thinking`` said of it."""

    @property
    def usage(self) -> Usage: ...  # noqa: D102 - see Record
    @property
    def ok(self) -> bool: ...  # noqa: D102
    @property
    def thinks(self) -> bool: ...  # noqa: D102
    @property
    def millis(self) -> int: ...  # noqa: D102
    @property
    def rejections(self) -> int: ...  # noqa: D102
    @property
    def retries(self) -> int: ...  # noqa: D102


@dataclass(slots=True)
class Meter:
    """Counts lines of one model and region in one shard. ``blank`` is the entry of no line."""

    blank: Entry
    tariff: Tariff | None
    is_embedding: bool = False
    calls: int = 0
    failures: int = 0
    rejections: int = 0
    retries: int = 0
    millis: int = 0
    # By tier and mode, the sums of what a Usage holds: to add one to another costs twice as much.
    _used: dict[tuple[int, bool], list[int]] = field(default_factory=dict)

    def add(self, lines: Sequence[Metered]) -> None:
        """Count settled lines; what a failed one used is not charged.

        A hot loop, hence the local names.
        """
        tariff, used = self.tariff, self._used
        failures = millis = rejections = retries = 0
        # Mostly a line is of the tier and mode of the one before it.
        tier, thinks, sums = -1, False, [0, 0, 0, 0]
        for line in lines:
            millis += line.millis
            rejections += line.rejections
            retries += line.retries
            usage = line.usage
            if not line.ok:
                failures += 1
            elif usage.input or usage.output:  # of which the others are parts
                of_tier = 0 if tariff is None else tariff.tier_of(usage.input)
                if of_tier != tier or line.thinks is not thinks:
                    tier, thinks = of_tier, line.thinks
                    sums = used.setdefault((tier, thinks), [0, 0, 0, 0])
                sums[0] += usage.input
                sums[1] += usage.output
                sums[2] += usage.cached
                sums[3] += usage.reasoning
        self.calls += len(lines)
        self.failures += failures
        self.millis += millis
        self.rejections += rejections
        self.retries += retries

    def read(self) -> Entry:
        """The entry of the lines so far."""
        return replace(
            self.blank,
            currency=self.tariff.currency if self.tariff is not None else None,
            calls=self.calls,
            failures=self.failures,
            rejections=self.rejections,
            retries=self.retries,
            millis=self.millis,
            usage=sum((Usage(*sums) for sums in self._used.values()), ZERO),
            charges=_merged(self._charges()),
        )

    def price(self) -> int:
        """What the lines so far cost, in units."""
        return sum(charge.price for charge in self._charges())

    def _charges(self) -> Iterator[Charge]:
        for (tier, thinks), sums in self._used.items():
            usage = Usage(*sums)
            item_in, item_out = _items(thinks=thinks, is_embedding=self.is_embedding)
            of_input = of_output = 0
            if self.tariff is not None:
                rates = self.tariff.rates[tier]
                of_input = input_price(rates, usage)
                of_output = output_price(rates, usage, thinks=thinks)
            yield self._charge(item_in, usage.input, of_input)
            if usage.output:
                yield self._charge(item_out, usage.output, of_output)

    def _charge(self, item: Item, tokens: int, list_price: int) -> Charge:
        price = self.tariff.discounted(list_price) if self.tariff is not None else 0
        return Charge(item, tokens, list_price, price)


def is_thinking(usage: Usage, *, asked: bool) -> bool:
    """Whether a line is charged as a thinking one: it asked for that, or the model did it."""
    return asked or usage.reasoning > 0


def _items(*, thinks: bool, is_embedding: bool) -> tuple[Item, Item]:
    if is_embedding:
        return Item.EMBEDDING, Item.OUTPUT
    if thinks:
        return Item.THINKING_INPUT, Item.THINKING_OUTPUT
    return Item.INPUT, Item.OUTPUT


def _merged(charges: Iterator[Charge]) -> tuple[Charge, ...]:
    """One charge an item, in the order of the items."""
    sums: dict[Item, Charge] = {}
    for one in charges:
        before = sums.get(one.item, Charge(one.item, 0, 0, 0))
        sums[one.item] = Charge(
            one.item,
            before.tokens + one.tokens,
            before.list_price + one.list_price,
            before.price + one.price,
        )
    return tuple(sums[item] for item in Item if item in sums)
