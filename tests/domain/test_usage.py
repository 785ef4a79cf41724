"""Sums of tokens."""

from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.usage import ZERO, Usage

count = st.integers(0, 10**9)
usages = st.builds(Usage, count, count, count, count)


def test_nothing_used_is_zero_everywhere() -> None:
    assert Usage(0, 0, 0, 0) == ZERO
    assert ZERO.total == 0


@given(usages, usages)
def test_a_sum_adds_each_kind_and_the_total_leaves_the_parts_out(one: Usage, two: Usage) -> None:
    both = one + two
    assert both.input == one.input + two.input
    assert both.output == one.output + two.output
    assert both.cached == one.cached + two.cached
    assert both.reasoning == one.reasoning + two.reasoning
    assert both.total == both.input + both.output
    assert one + ZERO == one
