"""The completion windows that people choose among; clients may ask for any in between. Pure."""

from collections.abc import Sequence
from typing import Final

from batchmill.domain.limits import DAY, HOUR, Limits, Profile, parse_window

_DAY: Final = "24h"
_MOST_DAYS: Final = 30


def offered_windows(profile: Profile, limits: Limits) -> Sequence[str]:
    """The whole days that are accepted, as they are written; the shortest window of all before.

    Never empty.
    """
    days = [_DAY, *(f"{count}d" for count in range(2, _MOST_DAYS + 1))]
    accepted = [text for text in days if parse_window(text, profile, limits) is not None]
    shortest = shortest_window(limits)
    starts_later = limits.completion_window_min < DAY or not accepted
    return [shortest, *accepted] if starts_later else accepted


def usual_window(offered: Sequence[str]) -> str:
    """The one that is taken where nobody chose: a day, or else the longest."""
    return _DAY if _DAY in offered else offered[-1]


def shortest_window(limits: Limits) -> str:
    """The shortest completion window that is accepted, as it is written."""
    shortest = limits.completion_window_min
    return f"{-(-shortest // HOUR)}h" if shortest >= HOUR else f"{shortest}s"
