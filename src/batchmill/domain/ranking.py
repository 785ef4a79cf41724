"""Names in the order of a key that may change, the least first.

What is asked for at every turn must not look at all that wait: each change
costs the logarithm of their number, the first of them next to nothing.
"""

from heapq import heapify, heappop, heappush
from typing import Any, Generic, Protocol, TypeVar


class Sortable(Protocol):
    """What has an order."""

    def __lt__(self, other: Any, /) -> bool: ...


Key = TypeVar("Key", bound=Sortable)

# Below this many stale entries a heap is not worth making anew.
_LITTER = 16


class Ranking(Generic[Key]):
    """A heap whose entries can be moved and taken out again. Equal keys rank by name."""

    def __init__(self) -> None:
        self._keys: dict[str, Key] = {}
        # Entries are not sought when their key changes: what is stale is dropped at the top.
        self._heap: list[tuple[Key, str]] = []

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, name: str, key: Key) -> None:
        """Add a name, or move it to another key."""
        if name in self._keys and self._keys[name] == key:
            return
        self._keys[name] = key
        heappush(self._heap, (key, name))
        self._tidy()

    def discard(self, name: str) -> None:
        """Take a name out, if it is there."""
        if self._keys.pop(name, None) is not None:
            self._tidy()

    def first(self) -> tuple[Key, str] | None:
        """The least key and its name; None where there is none."""
        while self._heap:
            key, name = self._heap[0]
            if name in self._keys and self._keys[name] == key:
                return key, name
            heappop(self._heap)
        return None

    def pop(self) -> tuple[Key, str] | None:
        """Take out the first."""
        found = self.first()
        if found is not None:
            self.discard(found[1])
        return found

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._keys) + _LITTER:
            self._heap = [(key, name) for name, key in self._keys.items()]
            heapify(self._heap)
