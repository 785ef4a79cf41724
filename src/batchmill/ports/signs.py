"""Signs of life: figures that processes leave for those of other machines to read.

A power cut may take the last ones back, unless they were put durably: so is the
register of a cluster, the only one on which anything rests that is decided.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Sign:
    """What the process called ``name`` said last, and when."""

    name: str
    body: bytes
    at: float


class SignStore(Protocol):
    """One row a name."""

    async def put(self, sign: Sign, *, durably: bool = False) -> None:
        """Replace what the same name said before."""
        ...

    async def get(self, name: str) -> Sign | None: ...

    async def list(self, prefix: str) -> Sequence[Sign]:
        """The signs whose names begin so, by name."""
        ...

    async def forget(self, before: float) -> None:
        """Remove the signs that are older."""
        ...
