"""Price tags: the prices of a table, for a million tokens, plain and in a batch."""

from decimal import Decimal

from batchmill.domain.money import text_of
from batchmill.domain.pricing import ModelPrice, PriceTable, Tariff, Tier
from batchmill.domain.usage import Usage
from batchmill.service.price_tags import PriceTag, TokenPrices, price_tag


def tariff_of(*tiers: Tier, discount: str = "0.5", stack: bool = False) -> Tariff:
    price = ModelPrice("m", "CNY", tiers, discount=Decimal(discount))
    found = PriceTable("1", (price,), stack_discounts=stack).tariff("m", at=0.0, window=86_400)
    assert found is not None
    return found


def tag_of(*tiers: Tier, discount: str = "0.5", stack: bool = False) -> PriceTag:
    tag = price_tag(tariff_of(*tiers, discount=discount, stack=stack))
    assert tag is not None
    return tag


def texts(prices: TokenPrices) -> tuple[str, ...]:
    kinds = (prices.input, prices.output, prices.thinking, prices.cached)
    return tuple(text_of(units) for units in kinds)


def test_a_tag_says_what_the_table_says() -> None:
    short = Tier(Decimal("0.4"), Decimal("1.2"), thinking_output=Decimal(4), up_to=128_000)
    tag = tag_of(short, Tier(Decimal("1.2"), Decimal("3.6")))
    assert (tag.currency, tag.share) == ("CNY", 500)
    assert [tier.up_to for tier in tag.tiers] == [128_000, None]
    assert texts(tag.tiers[0].list_price) == ("0.4", "1.2", "4", "0.4")
    assert texts(tag.tiers[0].batch_price) == ("0.2", "0.6", "2", "0.2")
    assert texts(tag.tiers[1].list_price) == ("1.2", "3.6", "3.6", "1.2")


def test_the_smallest_price_and_the_oddest_discount_are_exact() -> None:
    tag = tag_of(Tier(Decimal("0.000001"), Decimal("1.000001")), discount="0.333")
    assert texts(tag.tiers[0].batch_price)[:2] == ("0.000000667", "0.667000667")


def test_cached_input_is_cheaper_only_where_discounts_stack() -> None:
    tier = Tier(Decimal(1), Decimal(2), cached_input=Decimal("0.1"))
    assert texts(tag_of(tier).tiers[0].list_price)[3] == "1"
    assert texts(tag_of(tier, stack=True).tiers[0].list_price)[3] == "0.1"


def test_a_million_tokens_are_billed_as_the_tag_says() -> None:
    tiers = Tier(Decimal("0.7"), Decimal("2.1")), Tier(Decimal(9))
    tariff, tag = tariff_of(*tiers, discount="0.4"), tag_of(*tiers, discount="0.4")
    paid = tag.tiers[0].batch_price
    million = Usage(input=1_000_000, output=1_000_000)
    assert tariff.line_price(million, thinks=False) == paid.input + paid.output


def test_what_has_no_price_has_no_tag() -> None:
    assert price_tag(PriceTable().tariff("m", at=0.0, window=86_400)) is None
