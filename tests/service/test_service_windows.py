"""The completion windows that are offered: whole days within the limits of the profile."""

from collections.abc import Sequence

import pytest

from batchmill.domain.limits import DAY, HOUR, PROFILES, Limits, Profile, parse_window
from batchmill.service.windows import offered_windows, usual_window

FORTNIGHT = ["24h", *(f"{count}d" for count in range(2, 15))]


@pytest.mark.parametrize(
    ("profile", "limits", "offered", "usual"),
    [
        (Profile.QWEN, PROFILES[Profile.QWEN], FORTNIGHT, "24h"),
        (Profile.OPENAI, PROFILES[Profile.OPENAI], ["24h"], "24h"),
        (Profile.OPENAI, Limits(), ["24h"], "24h"),
        (Profile.QWEN, Limits(completion_window_max=3 * DAY), ["24h", "2d", "3d"], "24h"),
        (Profile.QWEN, Limits(completion_window_max=3 * DAY - 1), ["24h", "2d"], "24h"),
        (Profile.QWEN, Limits(completion_window_min=2 * DAY), FORTNIGHT[1:], "14d"),
        (Profile.QWEN, Limits(completion_window_min=2 * HOUR), ["2h", *FORTNIGHT], "24h"),
        (Profile.QWEN, Limits(completion_window_min=1), ["1s", *FORTNIGHT], "24h"),
        (
            Profile.QWEN,
            Limits(completion_window_min=30 * HOUR, completion_window_max=40 * HOUR),
            ["30h"],
            "30h",
        ),
    ],
)
def test_what_is_offered_is_accepted(
    profile: Profile, limits: Limits, offered: Sequence[str], usual: str
) -> None:
    assert offered_windows(profile, limits) == offered
    assert usual_window(offered) == usual
    assert all(parse_window(text, profile, limits) for text in offered)
