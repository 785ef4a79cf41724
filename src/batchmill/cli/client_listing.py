"""Lists that a server hands out a page at a time."""

from dataclasses import dataclass
from typing import Final

from batchmill.cli.client_http import Api, Params, decode
from batchmill.cli.client_model import Listing, Named
from batchmill.cli.streams import say

PAGE_ITEMS: Final = 100


@dataclass(frozen=True, slots=True)
class Some:
    """The first objects of a list as they came, and whether there are more."""

    items: tuple[bytes, ...]
    has_more: bool

    def tell_rest(self) -> None:
        """Say on stderr how to read on, where there is more."""
        if self.has_more and self.items:
            say(f"There are more: go on by --after {decode(self.items[-1], Named).id}.")


def gather(api: Api, path: str, params: Params, limit: int) -> Some:
    """Up to ``limit`` objects of a list, page by page."""
    items: list[bytes] = []
    asked = dict(params)
    while True:
        asked["limit"] = min(limit - len(items), PAGE_ITEMS)
        page = decode(api.get(path, asked), Listing)
        found = [bytes(item) for item in page.data or []]
        items += found
        if not found or not page.has_more or len(items) >= limit:
            return Some(tuple(items[:limit]), page.has_more)
        asked["after"] = decode(found[-1], Named).id
