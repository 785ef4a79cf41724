"""The shape of blob keys: ``/``-joined names that cannot lead out of the root.

A name never begins with a dot: names that do are the store's own.
"""

import re

_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}"
_KEY = re.compile(rf"{_NAME}(?:/{_NAME}){{0,15}}")


def check_key(key: str) -> str:
    """``key`` itself; raises ValueError where it is not a key such as ``files/ab/abcdef``."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not a blob key; use names of letters, digits, . _ - and /")
    return key
