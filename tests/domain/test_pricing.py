"""Prices of lines, against the rule as it is written: tokens x price x what is left of it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.catalog import TEST_MODEL
from batchmill.domain.ledger import Entry, Payer, Terms, is_thinking
from batchmill.domain.money import decimal_of
from batchmill.domain.pricing import Item, ModelPrice, PriceTable, Tariff, Tier
from batchmill.domain.usage import Usage

DAY = 86_400
MILLION = Decimal(1_000_000)
PLUS = ModelPrice(
    "plus",
    "CNY",
    (
        Tier(Decimal("0.8"), Decimal(2), Decimal(8), Decimal("0.16"), up_to=131_072),
        Tier(Decimal("2.4"), Decimal(20), Decimal(24), up_to=262_144),
        Tier(Decimal("4.8"), Decimal(48), Decimal(64), up_to=1_000_000),
    ),
)
TABLE = PriceTable("v", (PLUS,))


def tariff_of(table: PriceTable, at: float = 0.0, window: int = DAY) -> Tariff:
    found = table.tariff("plus", at=at, window=window)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("tokens", "price"),
    [
        (0, "0"),
        (131_072, "0.8"),
        (131_073, "2.4"),
        (262_144, "2.4"),
        (262_145, "4.8"),
        (2_000_000, "4.8"),
    ],
)
def test_the_tier_follows_the_lines_own_input(tokens: int, price: str) -> None:
    charged = tariff_of(TABLE).line_price(Usage(tokens), thinks=False)
    assert decimal_of(charged) == tokens * Decimal(price) / MILLION / 2


def test_thinking_output_has_its_own_price_where_the_model_has_one() -> None:
    usage, tariff = Usage(1000, 500, reasoning=400), tariff_of(TABLE)
    plain = decimal_of(tariff.line_price(usage, thinks=False))
    thinking = decimal_of(tariff.line_price(usage, thinks=True))
    assert plain == (1000 * Decimal("0.8") + 500 * 2) / MILLION / 2
    assert thinking == (1000 * Decimal("0.8") + 500 * 8) / MILLION / 2
    flat = PriceTable("v", (ModelPrice("plus", "USD", (Tier(Decimal(1), Decimal(2)),)),))
    assert tariff_of(flat).line_price(usage, thinks=True) == tariff_of(flat).line_price(
        usage, thinks=False
    )


def test_a_line_thinks_if_it_asked_for_it_or_did_it() -> None:
    assert is_thinking(Usage(1, 1), asked=True)
    assert is_thinking(Usage(1, 1, reasoning=1), asked=False)
    assert not is_thinking(Usage(1, 1), asked=False)


def test_cached_input_is_plain_input_unless_discounts_stack() -> None:
    usage = Usage(1000, 0, cached=600)
    plain = decimal_of(tariff_of(TABLE).line_price(usage, thinks=False))
    stacked = PriceTable("v", (PLUS,), stack_discounts=True)
    cheaper = decimal_of(tariff_of(stacked).line_price(usage, thinks=False))
    assert plain == 1000 * Decimal("0.8") / MILLION / 2
    assert cheaper == (400 * Decimal("0.8") + 600 * Decimal("0.16")) / MILLION / 2


def test_the_discount_of_a_window_goes_before_the_models_and_that_before_the_tables() -> None:
    model = ModelPrice(
        "plus", "USD", PLUS.tiers, discount=Decimal("0.3"), windows={DAY: Decimal("0.2")}
    )
    table = PriceTable("v", (model,), discount=Decimal("0.6"), windows={2 * DAY: Decimal("0.7")})
    assert tariff_of(table, window=DAY).share == 800
    assert tariff_of(table, window=2 * DAY).share == 700
    plain = PriceTable("v", (PLUS,), discount=Decimal("0.6"), windows={2 * DAY: Decimal("0.7")})
    assert tariff_of(plain, window=DAY).share == 400
    assert tariff_of(plain, window=2 * DAY).share == 300


def test_a_price_holds_from_its_day_on() -> None:
    new_year = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    dearer = ModelPrice("plus", "CNY", (Tier(Decimal(9)),), valid_from=new_year)
    table = PriceTable("v", (dearer, PLUS))
    assert tariff_of(table, at=new_year - 0.001).rates[0].input == 800_000_000
    assert tariff_of(table, at=new_year).rates[0].input == 9_000_000_000
    later = PriceTable("v", (dearer,))
    assert later.tariff("plus", at=new_year - 1, window=DAY) is None


def test_the_test_model_is_free_and_an_unknown_one_has_no_price() -> None:
    free = ModelPrice(TEST_MODEL, "USD", (Tier(Decimal(1)),))
    table = PriceTable("v", (free, PLUS))
    assert table.tariff(TEST_MODEL, at=0, window=DAY) is None
    assert table.tariff("other", at=0, window=DAY) is None


# --- meters: the sum over lines, whatever their order and tiers ---

PRICES = st.decimals(min_value=0, max_value=1000, places=6)
SHARES = st.decimals(min_value=0, max_value=1, places=3)
USAGES = st.builds(
    lambda i, o, c, r: Usage(i, o, min(c, i), min(r, o)),
    *(st.integers(min_value=0, max_value=3000) for _ in range(4)),
)
LINES = st.lists(st.tuples(USAGES, st.booleans(), st.booleans()), max_size=40)


@st.composite
def tables(draw: st.DrawFn) -> PriceTable:
    bounds = sorted(draw(st.sets(st.integers(min_value=1, max_value=3000), max_size=3)))
    tiers = tuple(
        Tier(draw(PRICES), draw(PRICES), draw(st.none() | PRICES), draw(st.none() | PRICES), bound)
        for bound in (*bounds, None)
    )
    discount, stack = draw(SHARES), draw(st.booleans())
    return PriceTable("v", (ModelPrice("plus", "USD", tiers),), discount, {}, stack)


def by_the_book(table: PriceTable, usage: Usage, *, thinks: bool) -> tuple[Decimal, Decimal]:
    """List and batch price of a line, written down with decimals as the rule has it."""
    tiers = table.prices[0].tiers
    tier = next(one for one in tiers if one.up_to is None or usage.input <= one.up_to)
    output = tier.output if not thinks or tier.thinking_output is None else tier.thinking_output
    cached = tier.input
    if table.stack_discounts and tier.cached_input is not None:
        cached = tier.cached_input
    total = (
        (usage.input - usage.cached) * tier.input + usage.cached * cached + usage.output * output
    )
    return total / MILLION, total / MILLION * (1 - table.discount)


@dataclass(frozen=True)
class Counted:
    usage: Usage
    ok: bool = True
    thinks: bool = False
    millis: int = 0
    rejections: int = 0
    retries: int = 0


def metered(table: PriceTable, lines: list[tuple[Usage, bool, bool]]) -> Entry:
    terms = Terms(Payer("a", "w"), "v", {"plus": tariff_of(table)})
    meter = terms.meter("batch_1", 0, "plus")
    for usage, ok, asked in lines:
        thinks = is_thinking(usage, asked=asked)
        meter.add([Counted(usage, ok, thinks, millis=2, rejections=1, retries=3)])
    entry = meter.read()
    assert meter.price() == entry.price
    return entry


@given(tables(), LINES)
def test_an_entry_is_the_sum_over_its_successful_lines_to_the_last_digit(
    table: PriceTable, lines: list[tuple[Usage, bool, bool]]
) -> None:
    entry = metered(table, lines)
    good = [(usage, is_thinking(usage, asked=asked)) for usage, ok, asked in lines if ok]
    expected = [by_the_book(table, usage, thinks=thinks) for usage, thinks in good]
    assert decimal_of(entry.list_price) == sum((one for one, _ in expected), Decimal(0))
    assert decimal_of(entry.price) == sum((one for _, one in expected), Decimal(0))
    tariff = tariff_of(table)
    assert entry.price == sum(tariff.line_price(usage, thinks=thinks) for usage, thinks in good)
    assert (entry.calls, entry.failures) == (len(lines), len(lines) - len(good))
    assert (entry.millis, entry.rejections) == (2 * len(lines), len(lines))
    assert entry.retries == 3 * len(lines)


@given(tables(), LINES)
def test_every_token_is_on_exactly_one_item(
    table: PriceTable, lines: list[tuple[Usage, bool, bool]]
) -> None:
    entry = metered(table, lines)
    tokens = {charge.item: charge.tokens for charge in entry.charges}
    assert sum(tokens.values()) == entry.usage.total
    of_input = tokens.get(Item.INPUT, 0) + tokens.get(Item.THINKING_INPUT, 0)
    assert of_input == entry.usage.input


@given(tables(), LINES)
def test_the_order_of_lines_and_shards_changes_no_sum(
    table: PriceTable, lines: list[tuple[Usage, bool, bool]]
) -> None:
    cut = len(lines) // 2
    whole = metered(table, lines)
    halves = [metered(table, lines[cut:]), metered(table, lines[:cut])]
    assert whole.price == sum(one.price for one in halves)
    assert whole.list_price == sum(one.list_price for one in halves)


def test_embeddings_are_an_item_of_their_own_and_unpriced_models_cost_nothing() -> None:
    meter = Terms(Payer("a", "w"), is_embedding=True).meter("batch_1", 0, "e")
    meter.add([Counted(Usage(7))])
    entry = meter.read()
    assert [(one.item, one.tokens, one.price) for one in entry.charges] == [(Item.EMBEDDING, 7, 0)]
    assert entry.currency is None
