"""Price tables: what may be written, what is told of a mistake, and the text that stays."""

import json
import tomllib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.limits import DAY
from batchmill.domain.money import UNITS, text_of
from batchmill.domain.price_table import PriceFault, dump_table, read_table, restore_table
from batchmill.domain.pricing import NO_PRICES, ModelPrice, PriceTable, Tier
from batchmill.domain.usage import Usage

JANUARY = 1_767_225_600.0  # 2026-01-01 00:00 UTC


def read(text: str) -> PriceTable:
    return read_table(tomllib.loads(text, parse_float=Decimal))


def price(text: str = "input = 1", top: str = 'currency = "USD"') -> PriceTable:
    return read(f'{top}\n[[prices]]\nmodel = "m"\n{text}')


def fault(text: str) -> str:
    with pytest.raises(PriceFault) as caught:
        read(text)
    return str(caught.value)


FULL = """
currency = "USD"
batch_discount = 0.4
stack_discounts = true
[windows]
24h = "0.5"
7d = 1
[[prices]]
model = "tiered"
currency = "CNY"
valid_from = 2026-01-01
batch_discount = "0.25"
windows = { 24h = "0.3" }
  [[prices.tiers]]
  up_to = 128_000
  input = 0.80
  output = 2
  thinking_output = "8.000001"
  cached_input = 0
  [[prices.tiers]]
  input = "2.4"
[[prices]]
model = "flat"
input = 0.000001
"""


def test_everything_that_is_written_is_read_to_the_digit() -> None:
    table = read(FULL)
    assert (table.discount, table.stack_discounts) == (Decimal("0.4"), True)
    assert table.windows == {DAY: Decimal("0.5"), 7 * DAY: Decimal(1)}
    assert table.prices == (
        ModelPrice("flat", "USD", (Tier(Decimal("0.000001")),)),
        ModelPrice(
            "tiered",
            "CNY",
            (
                Tier(Decimal("0.8"), Decimal(2), Decimal("8.000001"), Decimal(0), 128_000),
                Tier(Decimal("2.4")),
            ),
            JANUARY,
            Decimal("0.25"),
            {DAY: Decimal("0.3")},
        ),
    )


def test_half_is_taken_off_where_nothing_else_is_said() -> None:
    table = price()
    assert (table.discount, table.windows, table.stack_discounts) == (Decimal("0.5"), {}, False)


@pytest.mark.parametrize(
    ("written", "from_when"),
    [
        ("2026-01-01", JANUARY),
        ("2026-01-01T01:00:00", JANUARY + 3600),
        ("2026-01-01T08:00:00+08:00", JANUARY),
        ("2026-01-01T00:00:00.5Z", JANUARY + 0.5),
    ],
)
def test_a_day_begins_at_midnight_utc(written: str, from_when: float) -> None:
    assert price(f"input = 1\nvalid_from = {written}").prices[0].valid_from == from_when


@pytest.mark.parametrize("written", ["0.5", '"0.5"', "0.500", '"0.50"', "5e-1", "+0.5"])
def test_a_number_means_the_same_however_it_is_written(written: str) -> None:
    table = price(f"input = {written}")
    assert table.prices[0].tiers[0].input.as_tuple() == Decimal("0.5").as_tuple()
    assert table.version == price("input = 0.5").version


def test_the_version_tells_tables_apart_and_no_spellings() -> None:
    one = read('currency="USD"\n[[prices]]\nmodel="a"\ninput=1\n[[prices]]\nmodel="b"\ninput=2\n')
    same = read(
        '# a comment\n[[prices]]\nmodel="b"\ncurrency="USD"\ninput="2.0"\n'
        '[[prices]]\ninput=1.00\nmodel="a"\ncurrency="USD"\n'
    )
    other = read(
        'currency="USD"\n[[prices]]\nmodel="a"\ninput=1\n[[prices]]\nmodel="b"\ninput=2.000001\n'
    )
    assert one == same
    assert len(one.version) == 16
    assert int(one.version, 16) > 0
    assert other.version != one.version
    assert price(top='currency = "USD"\nbatch_discount = 0.4').version != price().version


MODEL = 'currency = "USD"\n[[prices]]\nmodel = "m"\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "prices is missing: give at least one [[prices]]"),
        ("prices = 1", "prices is 1, but must be a list of one or more tables"),
        ("prices = []", "prices is a list, but must be a list of one or more tables"),
        ("[[prices]]\ninput=1", "prices.0.model is missing: name the model that is priced"),
        (
            '[[prices]]\nmodel="m"\ninput=1',
            "prices.0.currency is missing: name one here or at the top, such as USD",
        ),
        (MODEL, "prices.0.input is missing: give the price per million input tokens"),
        (
            MODEL + "input = -0.1",
            (
                "prices.0.input is -0.1, but must be a price from 0 to 1000000000 with at most "
                "6 decimals"
            ),
        ),
        (MODEL + "input = 0.0000001", "prices.0.input is 1E-7, but must be a price"),
        (MODEL + 'input = "1e2"', "prices.0.input is '1e2', but must be a price"),
        (MODEL + 'input = "-1"', "prices.0.input is '-1', but must be a price"),
        (MODEL + "input = true", "prices.0.input is true, but must be a price"),
        (MODEL + "input = nan", "prices.0.input is NaN, but must be a price"),
        (MODEL + "input = inf", "prices.0.input is Infinity, but must be a price"),
        (MODEL + "input = 1e999999", "prices.0.input is 1E+999999, but must be a price"),
        (MODEL + "input = 1e-999999", "prices.0.input is 1E-999999, but must be a price"),
        (MODEL + "input = 1000000000.1", "prices.0.input is 1000000000.1, but must be a price"),
        (MODEL + "input = []", "prices.0.input is a list, but must be a price"),
        (
            MODEL + "inputs = 1",
            "prices.0.inputs is not known; did you mean input?",
        ),
        ("curency = 1", "curency is not known; did you mean currency?"),
        (
            "xyz = 1",
            "xyz is not known: there are currency, batch_discount, stack_discounts, windows,",
        ),
        (
            'currency = "usd"',
            "currency is 'usd', but must be a code of three capital letters, such as USD",
        ),
        ('currency = "EURO"', "currency is 'EURO', but must be a code"),
        (
            MODEL.replace('"m"', '""') + "input=1",
            "prices.0.model is '', but must be the name of a model",
        ),
        (
            MODEL.replace('"m"', '"batch-test-model"') + "input=1",
            (
                "prices.0.model is 'batch-test-model', but must be another model: the test model "
                "is free"
            ),
        ),
        (
            MODEL + 'input=1\nvalid_from = "2026-01-01"',
            (
                "prices.0.valid_from is '2026-01-01', but must be a date or a time such as "
                "2026-01-31, without quotes"
            ),
        ),
        (MODEL + "input=1\nvalid_from = 12:30:00", "prices.0.valid_from is 12:30:00, but must be"),
        (
            MODEL + "input=1\nbatch_discount = 1.001",
            (
                "prices.0.batch_discount is 1.001, but must be a share from 0 to 1 with at most "
                "3 decimals, such as 0.5"
            ),
        ),
        (MODEL + "input=1\nbatch_discount = 0.5001", "prices.0.batch_discount is 0.5001, but"),
        ("batch_discount = -0.1", "batch_discount is -0.1, but must be a share"),
        ("stack_discounts = 1\n" + MODEL + "input=1", "stack_discounts is 1, but must be true or"),
        ("windows = 1\n" + MODEL + "input=1", "windows is 1, but must be a table"),
        (
            MODEL + 'input=1\n[windows]\nday = "0.5"',
            "windows.day is no completion window: write one such as 24h or 7d",
        ),
        (
            MODEL + 'input=1\n[windows]\n24h = "0.5"\n1d = "0.5"',
            "windows.1d is a window that stands there already",
        ),
        (MODEL + "input=1\nwindows = { 24h = 2 }", "prices.0.windows.24h is 2, but must be a"),
        (
            MODEL + "input=1\n[[prices.tiers]]\ninput=1",
            "prices.0.input stands beside tiers: keep one of the two",
        ),
        (
            MODEL + "[[prices.tiers]]\ninput=1\n[[prices.tiers]]\ninput=2",
            "prices.0.tiers.0.up_to is missing: only the last tier has no end",
        ),
        (
            MODEL + "[[prices.tiers]]\nup_to=5\ninput=1\n[[prices.tiers]]\nup_to=5\ninput=2",
            "prices.0.tiers.1.up_to is 5, but must be above 5, where the tier before ends",
        ),
        (
            MODEL + "[[prices.tiers]]\nup_to=0\ninput=1",
            "prices.0.tiers.0.up_to is 0, but must be a number of input tokens from 1",
        ),
        (MODEL + "tiers = []", "prices.0.tiers is a list, but must be a list of one or more"),
        (
            MODEL + "[[prices.tiers]]\nup_to=5\nmodel='m'",
            "prices.0.tiers.0.model is not known: there are up_to, input, output,",
        ),
        (
            MODEL + 'input=1\n[[prices]]\nmodel="m"\ninput=2\nvalid_from=1970-01-01',
            (
                "prices.1 is for m from the same moment on as prices.0: give one of them another "
                "valid_from"
            ),
        ),
        (
            MODEL + 'input=1\n[[prices]]\nmodel="m"\ninput=2\nvalid_from=2026-01-01\n'
            'currency="CNY"',
            (
                "prices.1.currency is CNY, but m is priced in USD already, and a model has one "
                "currency"
            ),
        ),
    ],
)
def test_every_mistake_is_told_with_its_place(text: str, sentence: str) -> None:
    assert fault(text).startswith(sentence)


@pytest.mark.parametrize(
    "text",
    [
        "input = 0",
        "input = 1000000000",
        "input = 0.000001",
        "input = 1\nbatch_discount = 0",
        "input = 1\nbatch_discount = 1",
        "input = 1\nbatch_discount = 0.001",
        "[[prices.tiers]]\nup_to = 1\ninput = 1",
        "[[prices.tiers]]\nup_to = 5\ninput = 1\n[[prices.tiers]]\nup_to = 6\ninput = 2",
    ],
)
def test_what_is_just_within_the_bounds_is_taken(text: str) -> None:
    assert price(text).models == {"m"}


def test_a_long_wrong_value_does_not_fill_the_sentence() -> None:
    assert len(fault(f'currency = "{"x" * 10_000}"')) < 200


# --- what it comes to ---


@pytest.mark.parametrize(
    ("tokens", "paid"),
    [
        # qwen-plus in China: 0.8 and 2 up to 128,000 tokens, then 2.4 and 20, all at half price
        (Usage(128_000, 1_000), "0.0522"),
        (Usage(128_001, 1_000), "0.1636012"),
        (Usage(300_000, 0), "0.36"),
    ],
)
def test_a_line_costs_what_the_page_says(tokens: Usage, paid: str) -> None:
    table = read(
        'currency = "CNY"\n[[prices]]\nmodel = "qwen-plus"\n'
        "[[prices.tiers]]\nup_to = 128_000\ninput = 0.8\noutput = 2\nthinking_output = 8\n"
        "[[prices.tiers]]\nup_to = 256_000\ninput = 2.4\noutput = 20\nthinking_output = 24\n"
    )
    tariff = table.tariff("qwen-plus", at=0.0, window=DAY)
    assert tariff is not None
    assert text_of(tariff.line_price(tokens, thinks=False)) == paid


# --- the text that stays ---


def prices_up_to(most: int, places: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(0, most, places=places, allow_nan=False, allow_infinity=False)


amounts = prices_up_to(10**6, 6)
shares = prices_up_to(1, 3)
windows = st.dictionaries(st.sampled_from(["24h", "2d", "7d", "90m"]), shares)
money = (
    {"input": amounts},
    {
        "output": amounts,
        "thinking_output": amounts,
        "cached_input": amounts,
    },
)


@st.composite
def entries(draw: st.DrawFn, model: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"model": model}
    rates = st.fixed_dictionaries(money[0], optional=money[1])
    if draw(st.booleans()):
        entry |= draw(rates)
    else:
        bounds = sorted(draw(st.sets(st.integers(1, 10**7), max_size=3)))
        tiers: list[dict[str, Any]] = [{"up_to": bound} | draw(rates) for bound in bounds]
        entry["tiers"] = [*tiers, draw(rates)]
    return entry | draw(
        st.fixed_dictionaries(
            {},
            optional={
                "batch_discount": shares,
                "windows": windows,
                "valid_from": st.dates() | st.datetimes(),
            },
        )
    )


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.sets(st.text(min_size=1).filter(lambda s: s != "batch-test-model"), min_size=1))
    tree = draw(
        st.fixed_dictionaries(
            {"currency": st.sampled_from(["USD", "CNY"])},
            optional={
                "batch_discount": shares,
                "windows": windows,
                "stack_discounts": st.booleans(),
            },
        )
    )
    return {**tree, "prices": [draw(entries(name)) for name in sorted(names)]}


@given(trees())
def test_the_text_of_a_table_makes_an_equal_one(tree: dict[str, Any]) -> None:
    table = read_table(tree)
    text = dump_table(table)
    again = restore_table(text)
    assert again == table
    assert dump_table(again) == text
    assert json.loads(text)["version"] == table.version


@given(trees())
def test_the_order_of_the_models_does_not_matter(tree: dict[str, Any]) -> None:
    assert read_table({**tree, "prices": tree["prices"][::-1]}) == read_table(tree)


@given(trees(), st.integers(0, 10**8))
def test_every_tier_is_an_exact_number_of_units(tree: dict[str, Any], tokens: int) -> None:
    table = read_table(tree)
    for one in table.prices:
        tariff = table.tariff(one.model, at=max(one.valid_from, 0.0), window=DAY)
        assert tariff is not None
        tier = next((t for t in one.tiers if t.up_to is None or tokens <= t.up_to), one.tiers[-1])
        exact = tokens * tier.input * (UNITS // 10**6)
        assert tariff.rates[tariff.tier_of(tokens)].input * tokens == exact


def test_a_table_that_was_ever_written_can_be_read() -> None:
    """Never change this text: it stands for those in the databases of others."""
    text = (
        '{"version":"0123456789abcdef","prices":[{"model":"m","currency":"USD","tiers":[{"input":'
        '"0.4","output":"1.2","thinking_output":"4","cached_input":null,"up_to":1000},{"input":"1",'
        '"output":"0","thinking_output":null,"cached_input":"0.1","up_to":null}],"valid_from":'
        '1767225600.0,"discount":"0.25","windows":{"86400":"0.3"}}],"discount":"0.5","windows":{},'
        '"stack_discounts":true}'
    )
    assert restore_table(text) == PriceTable(
        "0123456789abcdef",
        (
            ModelPrice(
                "m",
                "USD",
                (
                    Tier(Decimal("0.4"), Decimal("1.2"), Decimal(4), None, 1000),
                    Tier(Decimal(1), Decimal(0), None, Decimal("0.1")),
                ),
                JANUARY,
                Decimal("0.25"),
                {DAY: Decimal("0.3")},
            ),
        ),
        stack_discounts=True,
    )


def test_no_prices_are_a_table_too() -> None:
    assert restore_table(dump_table(NO_PRICES)) == NO_PRICES
