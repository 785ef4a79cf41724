"""Signs of life: figures that processes leave for those of other machines to read.

Nothing that is decided rests on them; a power cut may take the last ones back.
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

    async def put(self, sign: Sign) -> None:
        """Replace what the same name said before."""
        ...

    async def get(self, name: str) -> Sign | None: ...

    async def list(self, prefix: str) -> Sequence[Sign]:
        """The signs whose names begin so, by name."""
        ...

    async def forget(self, before: float) -> None:
        """Remove the signs that are older."""
        ...
