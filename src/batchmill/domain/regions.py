"""Regions: where a model's lines may be computed.

A rule is a list of words: a region's name, ``*`` for every region, or ``!name``
for one that is excluded. Their order means nothing: what is excluded is out,
and a list of nothing but exclusions allows every other region.
"""

import re
from collections.abc import Collection

ANYWHERE = "*"
EXCEPT = "!"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def is_region(text: str) -> bool:
    """Whether ``text`` can name a region: small letters, digits and ``-``, at most 63."""
    return _NAME.fullmatch(text) is not None


def is_rule_word(text: str) -> bool:
    """Whether ``text`` can stand in a rule."""
    return text == ANYWHERE or is_region(text.removeprefix(EXCEPT))


def may_compute(rule: Collection[str], region: str) -> bool:
    """Whether lines under this rule may be computed in ``region``.

    ``""`` is a place that nobody has named. It might be any region: so it is
    allowed only where every region is.
    """
    excluded = {word[len(EXCEPT) :] for word in rule if word.startswith(EXCEPT)}
    named = {word for word in rule if not word.startswith(EXCEPT)}
    if not region:
        return ANYWHERE in named and not excluded
    everywhere = ANYWHERE in named or bool(excluded and not named)
    return region not in excluded and (everywhere or region in named)


def allows_nothing(rule: Collection[str]) -> bool:
    """Whether no region whatever satisfies the rule."""
    named = [word for word in rule if not word.startswith(EXCEPT)]
    is_open = ANYWHERE in named or (bool(rule) and not named)
    return not is_open and not any(may_compute(rule, word) for word in named)
