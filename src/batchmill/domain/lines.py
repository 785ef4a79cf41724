"""Bytes in, Lines and LineErrors out; whole-file checks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One acceptable request of the input: its number from 1 and its bytes ``[start, end)``."""

    number: int
    start: int
    end: int
    custom_id: str
    model: str
