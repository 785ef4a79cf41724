"""A day's load, or a slice of it: batches of mixed sizes and deadlines of several accounts.

And what an ideal would make of it: a machine that divides its lines a second
among batches without a granule, by the nearest deadline or in equal parts.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

LINES_A_DAY = 1_000_000_000
DAY = 86_400.0
HOUR = 3_600.0
# Lines of a batch, and how many batches of a hundred have so many.
SIZES = ((100, 30), (5_000, 40), (50_000, 30))
# Hours until the deadline, and how many batches of a hundred have so many.
WINDOWS = ((0.5, 10), (1.0, 30), (2.0, 30), (24.0, 30))
# Accounts differ: the n-th brings a share of 1/n.
ACCOUNTS = 20


class Order(NamedTuple):
    """A batch that comes at ``at`` and is wanted at ``deadline``."""

    name: str
    account: str
    model: str
    lines: int
    at: float
    deadline: float


def orders(
    *, seconds: float, load: float, models: Mapping[str, float], seed: int
) -> Iterator[Order]:
    """The batches that come in so many seconds, at ``load`` times a billion a day.

    The load swells to 1.4 times its mean and ebbs to 0.6 once in that time.
    """
    dice = random.Random(seed)
    mean = sum(lines * part for lines, part in SIZES) / 100
    pace = LINES_A_DAY * load / DAY / mean
    accounts = [f"account-{n}" for n in range(1, ACCOUNTS + 1)]
    weights = [1 / n for n in range(1, ACCOUNTS + 1)]
    at, number = 0.0, 0
    while (at := at + dice.expovariate(pace * 1.4)) < seconds:
        if dice.random() * 1.4 > 1.0 + 0.4 * math.sin(2 * math.pi * at / seconds):
            continue
        window = _roll(dice, WINDOWS) * HOUR
        yield Order(
            f"batch_{number}",
            dice.choices(accounts, weights)[0],
            dice.choices(list(models), list(models.values()))[0],
            int(_roll(dice, SIZES)),
            at,
            at + window,
        )
        number += 1


def _roll(dice: random.Random, kinds: Sequence[tuple[float, int]]) -> float:
    return dice.choices([kind for kind, _ in kinds], [part for _, part in kinds])[0]


def ends_by_deadline(some: Sequence[Order], pace: float) -> dict[str, float]:
    """When each would end if all lines went to the nearest deadline; late ones are given up.

    ``pace`` are lines a second; ``some`` come in the order of time.
    """
    ends: dict[str, float] = {}
    queue: list[tuple[float, float, str]] = []
    left: dict[str, float] = {}
    now = 0.0
    for nxt in (*some, None):
        until = math.inf if nxt is None else nxt.at
        while queue and now < until:
            deadline, _, name = queue[0]
            end = now + left[name] / pace
            if min(end, deadline) > until:
                left[name] -= (until - now) * pace
                now = until
            else:
                heappop(queue)
                ends[name] = end if end <= deadline else math.inf
                now = max(now, min(end, deadline))
        now = max(now, until) if until < math.inf else now
        if nxt is not None:
            left[nxt.name] = nxt.lines
            heappush(queue, (nxt.deadline, nxt.at, nxt.name))
    return ends


def ends_in_equal_parts(some: Sequence[Order], pace: float) -> dict[str, float]:
    """When each would end if all that are there shared the lines a second equally."""
    ends: dict[str, float] = {}
    # Each has got as many lines as ``served`` grew since it came.
    queue: list[tuple[float, str]] = []
    served = now = 0.0
    for nxt in (*some, None):
        until = math.inf if nxt is None else nxt.at
        while queue and now < until:
            goal, name = queue[0]
            end = now + (goal - served) * len(queue) / pace
            if end > until:
                served += (until - now) * pace / len(queue)
                now = until
            else:
                heappop(queue)
                ends[name], served, now = end, goal, end
        now = max(now, until) if until < math.inf else now
        if nxt is not None:
            heappush(queue, (served + nxt.lines, nxt.name))
    return ends
