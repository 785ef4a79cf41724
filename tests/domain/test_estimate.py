"""What a file asks for, and what that comes to: by hand, and by the ledger's own rules."""

import itertools
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.catalog import TEST_MODEL, Catalog
from batchmill.domain.demand import NO_CAP, Demand, Tally, Thinking
from batchmill.domain.estimate import (
    Assumptions,
    Checked,
    Estimate,
    Method,
    ModelEstimate,
    Output,
    Pace,
    Price,
    appraise,
    foresee,
    has_output,
    with_price_faults,
)
from batchmill.domain.limits import DAY, PROFILES, Profile
from batchmill.domain.lines import CHAT, FileCheck, Line, LineCutter, LineRules
from batchmill.domain.money import UNITS
from batchmill.domain.pricing import ModelPrice, PriceTable, Tariff, Tier
from batchmill.domain.usage import Usage

RULES = LineRules(CHAT, Catalog(accepts_any=True), Profile.QWEN, PROFILES[Profile.QWEN], True)


def request(text: str = "hi", model: str = "m", **body: Any) -> bytes:
    messages = [{"role": "user", "content": text}]
    line = {"custom_id": text, "method": "POST", "url": CHAT}
    return json.dumps(line | {"body": {"model": model, "messages": messages} | body}).encode()


def tally_of(*lines: bytes) -> Tally:
    """What a file of these lines, which are all good, asks for."""
    tally, check, cutter = Tally(), FileCheck(RULES), LineCutter(10**7)
    for raw in [*cutter.feed(b"\n".join(lines)), *cutter.finish()]:
        line = check.check(raw)
        assert line is not None
        assert raw.data is not None
        tally.add(line, raw.data)
    return tally


def demand_of(*lines: bytes) -> Demand:
    (demand,) = tally_of(*lines).demands()
    return demand


def demand(texts: Sequence[int], caps: Sequence[int] | None = None) -> Demand:
    """The demand of lines of so much text."""
    made = Demand("m")
    for at, (text, cap) in enumerate(zip(texts, caps or [NO_CAP] * len(texts), strict=True)):
        made.add(Line(at + 1, at * 100, at * 100 + 100, str(at), "m"), text, cap)
    return made


def tariff(*tiers: Tier, discount: str = "0.5") -> Tariff:
    table = PriceTable("v", (ModelPrice("m", "USD", tiers),), Decimal(discount))
    found = table.tariff("m", at=0.0, window=DAY)
    assert found is not None
    return found


PLUS = tariff(Tier(Decimal("0.4"), Decimal("1.2"), Decimal(4)))
TIERED = tariff(
    Tier(Decimal("0.8"), Decimal(2), up_to=100), Tier(Decimal("2.4"), Decimal(20), Decimal(24))
)


# --- what is read of a line ---


@pytest.mark.parametrize(
    ("body", "cap"),
    [
        ({}, NO_CAP),
        ({"max_tokens": 100}, 100),
        ({"max_completion_tokens": 90, "max_tokens": 100}, 90),
        ({"max_output_tokens": 80}, 80),
        ({"max_tokens": 100, "n": 3}, 300),
        ({"max_tokens": 0}, NO_CAP),
        ({"max_tokens": -5}, NO_CAP),
        ({"max_tokens": "100"}, NO_CAP),
        ({"max_tokens": 1.5}, NO_CAP),
        ({"max_tokens": None}, NO_CAP),
        ({"max_tokens": 10**30}, NO_CAP),
        ({"max_tokens": 10**12}, 2**31 - 1),
        ({"max_tokens": 2**31 - 1, "n": 9}, 2**31 - 1),
        ({"max_tokens": 100, "enable_thinking": False}, 100),
        ({"max_tokens": 100, "enable_thinking": True}, NO_CAP),
        ({"max_tokens": 100, "enable_thinking": True, "thinking_budget": 50}, 150),
        ({"max_tokens": 100, "enable_thinking": False, "thinking_budget": 50}, 100),
        ({"max_completion_tokens": 90, "enable_thinking": True}, 90),
    ],
)
def test_the_longest_answer_is_what_the_line_allows(body: dict[str, Any], cap: int) -> None:
    assert list(demand_of(request(**body)).caps) == [cap]


@pytest.mark.parametrize(
    ("said", "thinking"),
    [
        ({}, Thinking.UNSAID),
        ({"enable_thinking": None}, Thinking.UNSAID),
        ({"enable_thinking": True}, Thinking.ASKED),
        ({"enable_thinking": False}, Thinking.REFUSED),
    ],
)
def test_whether_lines_think_is_what_they_say(said: dict[str, Any], thinking: Thinking) -> None:
    assert tally_of(request(**said)).thinking is thinking


def test_an_escaped_character_counts_as_the_bytes_that_it_takes() -> None:
    plain, escaped = ((f'[{{"role":"user","content":"{text}"}}]') for text in ("好" * 50, ""))
    spelt = escaped.replace('""', '"' + "\\u597d" * 50 + '"')
    lines = [
        b'{"custom_id":"%d","method":"POST","url":"%b","body":{"model":"m","messages":%b}}'
        % (at, CHAT.encode(), text.encode())
        for at, text in enumerate((plain, spelt))
    ]
    one, other = demand_of(*lines).texts
    assert one == other == len(plain.encode())


def test_lines_are_told_apart_by_model_and_found_again_in_the_file() -> None:
    lines = [request(str(at), model) for at, model in enumerate("abab")]
    file = b"\n".join(lines)
    first, second = tally_of(*lines).demands()
    assert (first.model, second.model) == ("a", "b")
    assert [file[slice(*first.span(at))].strip() for at in range(2)] == [lines[0], lines[2]]
    assert [file[slice(*second.span(at))].strip() for at in range(2)] == [lines[1], lines[3]]


@given(st.integers(0, 2000), st.integers(1, 300))
def test_a_sample_is_spread_evenly_and_never_larger_than_asked(lines: int, most: int) -> None:
    picked = demand([1] * lines).sample(most, 10**9)
    assert len(picked) == min(lines, most)
    assert sorted(set(picked)) == list(picked)
    gaps = {after - before for before, after in itertools.pairwise(picked)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_a_sample_of_long_lines_is_a_smaller_one() -> None:
    lines = demand([1] * 100)  # of 100 bytes each
    assert len(lines.sample(64, 6_400)) == 64
    assert len(lines.sample(64, 6_399)) == 32
    assert list(lines.sample(64, 1)) == [0]


# --- what it comes to ---


def test_a_price_is_that_of_the_page() -> None:
    """qwen-plus: 1,000,000 tokens in at 0.40 and 500,000 out at 1.20 are 1.00, in a batch 0.50."""
    lines = demand([4_000_000], [500_000])
    found = appraise(lines, {}, Assumptions(PLUS, Thinking.REFUSED, mean_output=250_000))
    assert (found.method, found.input_tokens) == (Method.BYTES, 1_000_000)
    assert found.input == Price(UNITS * 4 // 10, UNITS * 2 // 10)
    assert found.most == Output(500_000, Price(UNITS, UNITS // 2))
    assert found.expected == Output(250_000, Price(UNITS * 7 // 10, UNITS * 35 // 100))


def test_each_line_has_the_tier_of_its_own_input() -> None:
    """100 tokens at 0.8 and 101 at 2.4: 322.4 millionths, half of it in a batch."""
    found = appraise(demand([1, 1], [10, 10]), {0: 100, 1: 101}, Assumptions(TIERED))
    assert found.input == Price(322_400_000 * 1_000, 161_200_000 * 1_000)


@pytest.mark.parametrize(
    ("thinking", "most", "expected"),
    [(Thinking.ASKED, 4, 4), (Thinking.REFUSED, "1.2", "1.2"), (Thinking.UNSAID, 4, "1.2")],
)
def test_thinking_has_its_own_price(thinking: Thinking, most: str, expected: str) -> None:
    found = appraise(demand([0], [10**6]), {}, Assumptions(PLUS, thinking, mean_output=10**6))
    assert found.most is not None
    assert found.expected is not None
    assert found.most.price == Price(int(Decimal(most) * UNITS), int(Decimal(most) * UNITS / 2))
    assert found.expected.price is not None
    assert found.expected.price.list_price == int(Decimal(expected) * UNITS)


def test_where_one_line_has_no_limit_nobody_knows_the_most() -> None:
    assert appraise(demand([4, 4], [10, NO_CAP]), {}, Assumptions(PLUS)).most is None
    assert appraise(demand([4, 4], [10, 10]), {}, Assumptions(PLUS)).most is not None


def test_without_answers_lately_nothing_is_expected() -> None:
    assert appraise(demand([4]), {}, Assumptions(PLUS)).expected is None


def test_embeddings_have_no_output() -> None:
    found = appraise(
        demand([4_000]), {}, Assumptions(PLUS, has_output=has_output("/v1/embeddings"))
    )
    assert found.input is not None
    assert found.most == found.expected == Output(0, found.input)
    assert has_output(CHAT)


def test_a_model_without_a_price_has_tokens_all_the_same() -> None:
    found = appraise(demand([400], [7]), {}, Assumptions(None, mean_output=5))
    assert (found.currency, found.input) == (None, None)
    assert found.most == Output(7, None)
    assert found.expected == Output(5, None)


def test_a_sample_is_scaled_by_bytes() -> None:
    found = appraise(demand([100, 200, 300]), {0: 10}, Assumptions(PLUS))
    assert (found.method, found.input_tokens) == (Method.SAMPLE, 10 + 20 + 30)


def test_a_sample_without_text_or_tokens_says_nothing_of_the_others() -> None:
    for counted in ({0: 0}, {0: 5}):
        found = appraise(demand([0, 400]), counted, Assumptions(PLUS))
        assert found.input_tokens == counted[0] + 100


rates = st.decimals(0, 1000, places=6, allow_nan=False, allow_infinity=False)
lines = st.tuples(st.integers(0, 10_000), st.integers(1, 10_000))


@given(
    st.lists(lines, min_size=1, max_size=40),
    st.lists(st.tuples(rates, rates), min_size=1, max_size=4),
    st.sampled_from(["0", "0.5", "0.333", "1"]),
)
def test_what_is_counted_and_capped_is_priced_to_the_last_digit(
    asked: list[tuple[int, int]], priced: list[tuple[Decimal, Decimal]], discount: str
) -> None:
    tiers = [
        Tier(one, other, up_to=None if at == len(priced) - 1 else (at + 1) * 2_000)
        for at, (one, other) in enumerate(priced)
    ]
    in_force = tariff(*tiers, discount=discount)
    counted = {at: tokens for at, (tokens, _) in enumerate(asked)}
    caps = [cap for _, cap in asked]
    found = appraise(demand([1] * len(asked), caps), counted, Assumptions(in_force))
    exact = sum(in_force.line_price(Usage(tokens, cap), thinks=False) for tokens, cap in asked)
    assert found.method is Method.TOKENIZER
    assert found.most is not None
    assert found.most.price is not None
    assert found.most.price.price == exact


# --- the whole ---


def model(name: str = "m", currency: str | None = "USD", **more: Any) -> ModelEstimate:
    price = None if currency is None else Price(20, 10)
    return ModelEstimate(name, 100, 5, Method.BYTES, currency, input=price, **more)


def estimate(*models: ModelEstimate, **more: Any) -> Estimate:
    checked = Checked(100, 0, ())
    return Estimate(CHAT, DAY, checked, "v", models, **more)


OUT = Output(1, Price(40, 20))
MORE = Output(2, Price(60, 30))


def test_totals_are_by_currency_and_only_where_all_is_known() -> None:
    found = estimate(
        model("a", expected=OUT, most=MORE),
        model("b", expected=OUT),
        model("c", "CNY", expected=OUT, most=MORE),
        model("d", None, expected=Output(1, None)),
    )
    cny, usd = found.totals
    assert (cny.currency, cny.input, cny.expected, cny.most) == (
        "CNY",
        Price(20, 10),
        Price(40, 20),
        Price(60, 30),
    )
    assert (usd.input, usd.expected, usd.most) == (Price(40, 20), Price(80, 40), None)
    assert found.unpriced == ("d",)


@pytest.mark.parametrize(
    ("more", "budget", "fits"),
    [
        ({}, 9, False),
        ({}, 10, None),
        ({"most": MORE}, 30, True),
        ({"most": MORE}, 29, False),
        ({"most": MORE, "expected": OUT}, 20, True),
        ({"most": MORE, "expected": OUT}, 19, False),
    ],
)
def test_a_budget_is_held_against_what_is_likely(
    more: dict[str, Any], budget: int, fits: bool | None
) -> None:
    assert estimate(model(**more), budget=budget).fits_budget is fits


def test_no_budget_fits_what_has_no_price() -> None:
    assert estimate(model(most=MORE)).fits_budget is None
    assert estimate(model(currency=None), budget=99).fits_budget is None


def test_a_file_in_two_currencies_cannot_be_charged() -> None:
    found = with_price_faults(estimate(model("a"), model("b", "CNY")))
    assert [one.code for one in found.checked.errors] == ["mismatched_currency"]
    assert with_price_faults(estimate(model("a"), model("b"))).checked.errors == ()


def test_a_budget_needs_a_price() -> None:
    unpriced = model(currency=None)
    found = with_price_faults(estimate(unpriced, budget=1))
    assert [one.code for one in found.checked.errors] == ["model_not_priced"]
    assert with_price_faults(estimate(unpriced)).checked.errors == ()
    free = estimate(model(TEST_MODEL, None), budget=1)
    assert with_price_faults(free).checked.errors == ()


@pytest.mark.parametrize(("ahead", "fits"), [(DAY * 2 - 100, True), (DAY * 2 - 99, False)])
def test_the_window_is_met_from_both_sides(ahead: int, fits: bool) -> None:
    one = model()
    found = estimate(one, duration=foresee([one], {"m": Pace(2.0, ahead)}))
    assert found.fits_window is fits


def test_the_slowest_model_decides() -> None:
    paces = {"a": Pace(10.0, 900), "b": Pace(1.0, 900)}
    found = foresee([model("a"), model("b")], paces)
    assert (found.seconds, found.lines_per_second, found.lines_ahead) == (1000.0, 1.0, 900)


def test_a_file_without_good_lines_has_no_duration() -> None:
    assert (foresee([], {}).seconds, estimate(duration=foresee([], {})).fits_window) == (None, None)


@pytest.mark.parametrize("paces", [{}, {"m": Pace(None, 5)}, {"m": Pace(0.0)}])
def test_what_does_not_run_has_no_duration_but_a_reason(paces: dict[str, Pace]) -> None:
    found = foresee([model()], paces)
    assert (found.seconds, found.reason is not None) == (None, True)
    assert estimate(duration=found).fits_window is None
