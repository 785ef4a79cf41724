"""Search by a part of a name: without regard to case, alike in every database.

Databases fold letters each in their own way, and some only those of ASCII. So
names are stored folded beside what they are, and what is looked for is folded
before it gets there.
"""

from typing import Any

from sqlalchemy import Column, ColumnElement, or_

# No name is as long; SQLite refuses patterns of more than 50,000 bytes.
_LONGEST_NEEDLE = 4_000


def fold(name: str) -> str:
    """``name`` as it is searched."""
    return name.casefold()


def holds(needle: str, *columns: Column[Any]) -> ColumnElement[bool]:
    """The condition that one of ``columns``, which hold folded text, has ``needle`` in it."""
    folded = fold(needle)[:_LONGEST_NEEDLE]
    return or_(*(column.contains(folded, autoescape=True) for column in columns))
