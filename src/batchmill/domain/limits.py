"""Limits: every number that a request is measured against, and the completion window.

A MB is 1024 x 1024 bytes. The defaults are the vendor's; ``PROFILES`` holds
where the two profiles differ. Nothing here refuses anything: the rules that
do so read their numbers from here.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

MB = 1024 * 1024
GB = 1024 * MB
HOUR = 3600
DAY = 24 * HOUR


class Profile(StrEnum):
    """Whose rules apply where the two interfaces differ."""

    QWEN = "qwen"
    OPENAI = "openai"


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers; sizes in bytes, times in seconds, the rest are counts."""

    max_lines: int = 50_000
    max_file_bytes: int = 500 * MB
    max_line_bytes: int = 6 * MB
    max_custom_id_chars: int = 256
    max_files: int = 10_000
    max_total_bytes: int = 100 * GB
    max_upload_bytes: int = 8 * GB
    max_part_bytes: int = 64 * MB
    upload_ttl: int = HOUR
    max_unfinished_batches: int = 1_000
    test_model_max_file_bytes: int = 1 * MB
    test_model_max_lines: int = 100
    test_model_max_unfinished: int = 2
    completion_window_min: int = 24 * HOUR
    completion_window_max: int = 336 * HOUR
    expires_after_min: int = HOUR
    expires_after_max: int = 30 * DAY
    list_days: int = 30
    max_errors: int = 1_000
    max_embedding_inputs: int = 50_000


@dataclass(frozen=True, slots=True)
class MetadataLimits:
    """What ``metadata`` may hold; None is unlimited. Reserved keys have limits of their own."""

    max_pairs: int | None = None
    max_key_chars: int | None = None
    max_value_chars: int | None = None
    max_name_chars: int | None = None
    max_description_chars: int | None = None


METADATA = {
    Profile.QWEN: MetadataLimits(max_name_chars=100, max_description_chars=200),
    Profile.OPENAI: MetadataLimits(max_pairs=16, max_key_chars=64, max_value_chars=512),
}

PROFILES = {
    Profile.QWEN: Limits(),
    Profile.OPENAI: Limits(max_file_bytes=200 * MB, completion_window_max=24 * HOUR),
}

_UNITS = {"s": 1, "m": 60, "h": HOUR, "d": DAY}
_WINDOW = re.compile(r"([1-9][0-9]{0,8})([smhd])")


def parse_duration(text: str) -> int | None:
    """Seconds of an integer with a unit (``90s``, ``5m``, ``24h``, ``14d``), or None."""
    match = _WINDOW.fullmatch(text)
    return int(match[1]) * _UNITS[match[2]] if match else None


def parse_window(text: str, profile: Profile, limits: Limits) -> int | None:
    """Seconds of a ``completion_window``, or None where the profile and the limits refuse it.

    The units ``s`` and ``m`` are read only where the least window lies below
    an hour. The openai profile takes ``24h`` alone, unless its range was widened.
    """
    if profile is Profile.OPENAI and limits.completion_window_min == DAY:
        return DAY if text == "24h" else None
    seconds = parse_duration(text)
    if seconds is None or (text[-1] in "sm" and limits.completion_window_min >= HOUR):
        return None
    if limits.completion_window_min <= seconds <= limits.completion_window_max:
        return seconds
    return None
