"""What a scripted upstream does: rates, delays, limits; and the dice that decide by them.

Pure. What befalls a request depends on the seed, its body and how often its
line was sent before, and on nothing else: the same run meets the same faults.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

from batchmill.domain.errors import ConfigError

TAIL_SPREAD = 0.5  # sigma of the slow tail's logarithm
MIN_OVERSIZED = 64
ROUNDING = 1e-9  # what a sum of rates may exceed 1 by


class Fault(StrEnum):
    """What can go wrong with a request."""

    RATE_LIMITED = "rate_limited"  # 429 with Retry-After
    SERVER_ERROR = "server_error"  # a 5xx
    RESET = "reset"  # the connection closes without an answer
    CUT = "cut"  # the connection closes in the middle of the answer
    HANG = "hang"  # no answer, ever
    ERROR_BODY = "error_body"  # 200 with an error object
    NOT_JSON = "not_json"  # 200 with a page of HTML
    CUT_JSON = "cut_json"  # 200 with half of the JSON, framed as if whole
    BAD_UTF8 = "bad_utf8"  # 200 with bytes that are not UTF-8
    OVERSIZED = "oversized"  # 200 with a very large body


class Tokenizes(StrEnum):
    """In whose way ``/tokenize`` answers, if at all."""

    VLLM = "vllm"
    LLAMA_CPP = "llama.cpp"
    NOT = "not"


# The field of a script that holds each fault's share, in the order in which they are drawn.
RATES = {
    Fault.RATE_LIMITED: "rate_429",
    Fault.SERVER_ERROR: "rate_5xx",
    Fault.RESET: "rate_reset",
    Fault.CUT: "rate_cut",
    Fault.HANG: "rate_hang",
    Fault.ERROR_BODY: "rate_error_body",
    Fault.NOT_JSON: "rate_not_json",
    Fault.CUT_JSON: "rate_cut_json",
    Fault.BAD_UTF8: "rate_bad_utf8",
    Fault.OVERSIZED: "rate_oversized",
}


@dataclass(frozen=True, slots=True)
class Script:
    """How a scripted upstream behaves. Times are seconds, rates are shares from 0 to 1.

    Raises ConfigError for a value out of range.
    """

    models: tuple[str, ...] = ()
    require_key: str | None = None
    seed: int = 0
    latency: float = 0.0
    tail_share: float = 0.0
    tail_latency: float = 0.0
    slots: int | None = None
    queue: int | None = None
    retry_after: float | None = 1.0
    rate_429: float = 0.0
    rate_5xx: float = 0.0
    status_5xx: int = 503
    rate_reset: float = 0.0
    rate_cut: float = 0.0
    rate_hang: float = 0.0
    rate_error_body: float = 0.0
    rate_not_json: float = 0.0
    rate_cut_json: float = 0.0
    rate_bad_utf8: float = 0.0
    rate_oversized: float = 0.0
    oversized_bytes: int = 300 * 1024 * 1024
    fail_first: int = 0
    fail_with: Fault = Fault.SERVER_ERROR
    close_after: int | None = None
    close_delay: float = 0.0
    count_lines: bool = True
    tokenizes: Tokenizes = Tokenizes.VLLM

    def __post_init__(self) -> None:
        problem = next(_find_problems(self), None)
        if problem is not None:
            raise ConfigError(problem)

    def rates(self) -> dict[Fault, float]:
        """The share of requests that each fault befalls."""
        return {fault: getattr(self, name) for fault, name in RATES.items()}


def _find_problems(script: Script) -> Iterator[str]:
    yield from _find_bad_rates(script)
    for name in ("latency", "tail_latency", "close_delay", "queue", "retry_after", "fail_first"):
        value = getattr(script, name)
        if value is not None and not 0 <= value < math.inf:
            yield f"{name} is {value}: it is 0 or more."
    for name in ("slots", "close_after"):
        value = getattr(script, name)
        if value is not None and value < 1:
            yield f"{name} is {value}: it is 1 or more, or left out."
    if not 500 <= script.status_5xx <= 599:
        yield f"status_5xx is {script.status_5xx}: it is a status from 500 to 599."
    if script.oversized_bytes < MIN_OVERSIZED:
        yield f"oversized_bytes is {script.oversized_bytes}: it is {MIN_OVERSIZED} or more."
    if not script.count_lines and _is_faulty(script):
        yield "count_lines is off, but faults are drawn by how often a line was sent: leave it on."


def _find_bad_rates(script: Script) -> Iterator[str]:
    for name in (*RATES.values(), "tail_share"):
        rate = getattr(script, name)
        if not 0 <= rate <= 1:
            yield f"{name} is {rate}: it is a share from 0 to 1."
    if sum(script.rates().values()) > 1 + ROUNDING:
        yield "The rates of all faults together exceed 1: lower one of them."


def _is_faulty(script: Script) -> bool:
    return script.fail_first > 0 or any(script.rates().values())


class Fate(NamedTuple):
    """What becomes of one request: its fault, if any, and its seconds of work."""

    fault: Fault | None
    latency: float


class Dice:
    """Draws the fate of requests by a script."""

    __slots__ = ("_calm", "_script", "_steps")

    def __init__(self, script: Script) -> None:
        self._script = script
        self._steps = _accumulate(script.rates())
        is_calm = not _is_faulty(script) and script.tail_share == 0
        self._calm = Fate(None, script.latency) if is_calm else None

    def draw(self, line: bytes, hit: int) -> Fate:
        """The fate of the ``hit``-th request (from 1) whose body has the digest ``line``."""
        if self._calm is not None:
            return self._calm
        script = self._script
        chances = _throw(b"%d:%d:%b" % (script.seed, hit, line))
        fault = script.fail_with if hit <= script.fail_first else self._pick(chances[0])
        is_slow = chances[1] < script.tail_share
        return Fate(fault, self._stretch(chances) if is_slow else script.latency)

    def _pick(self, chance: float) -> Fault | None:
        return next((fault for fault, upto in self._steps if chance < upto), None)

    def _stretch(self, chances: tuple[float, ...]) -> float:
        # Box and Muller's way from two even chances to a normal deviate.
        deviate = math.sqrt(-2 * math.log(1 - chances[2])) * math.cos(math.tau * chances[3])
        return self._script.tail_latency * math.exp(TAIL_SPREAD * deviate)


def _accumulate(rates: dict[Fault, float]) -> tuple[tuple[Fault, float], ...]:
    steps: list[tuple[Fault, float]] = []
    total = 0.0
    for fault, rate in rates.items():
        total += rate
        steps.append((fault, total))
    return tuple(steps)


def _throw(text: bytes) -> tuple[float, ...]:
    """Four even chances in [0, 1)."""
    digest = blake2b(text, digest_size=32).digest()
    return tuple(int.from_bytes(digest[at : at + 8]) / 2**64 for at in (0, 8, 16, 24))
