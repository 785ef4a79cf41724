"""What the settings' pages share: whose settings they show, and how long a list they show at once.

The operator may look into every account through ``?account=``; whether one may
is the services' to say, and they do not find what is not the visitor's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar
from urllib.parse import urlencode

from batchmill.console.visit import Visit
from batchmill.domain.account import Account
from batchmill.service.accounts import Accounts
from batchmill.service.refusals import is_plausible_id

PAGE_ROWS: Final = 50


class HasId(Protocol):
    """A row of a list."""

    @property
    def id(self) -> str:
        """By which a page is told where the one before ended."""
        ...


RowT = TypeVar("RowT", bound=HasId)


@dataclass(frozen=True, slots=True)
class Scope:
    """The account that is looked at. ``account`` None: the visitor's own.

    ``accounts`` are those that the visitor may choose from: the operator's are many.
    """

    account: str | None
    own: str
    accounts: Sequence[Account]

    @property
    def shown(self) -> str:
        """The account's id."""
        return self.account or self.own

    @property
    def name(self) -> str:
        """The account's name, or its id where that is not known."""
        return next((one.name for one in self.accounts if one.id == self.shown), self.shown)

    def to(self, path: str, **more: str) -> str:
        """An address below the console's base, in the same account."""
        whose = {} if self.account is None else {"account": self.account}
        query = urlencode({**whose, **{name: text for name, text in more.items() if text}})
        return f"{path}?{query}" if query else path


async def read_scope(visit: Visit, accounts: Accounts) -> Scope:
    """Whose settings the address asks for."""
    own, named = visit.caller.account, visit.value("account")
    choices = await accounts.list() if visit.may("operator") else ()
    return Scope(None if named in {"", own} else named, own, choices)


def read_after(visit: Visit) -> str | None:
    """Where the page before ended; None for the first page, and for what cannot be an id."""
    after = visit.value("after")
    return after if is_plausible_id(after) else None


@dataclass(frozen=True, slots=True)
class Cut(Generic[RowT]):
    """A page of a list. ``after`` is where the next one begins; None where this is the last."""

    rows: Sequence[RowT]
    after: str | None
    is_first: bool


def cut_page(rows: Sequence[RowT], after: str) -> Cut[RowT]:
    """The rows behind the one with the id ``after``; from the first on where there is none."""
    found = (place for place, row in enumerate(rows, start=1) if row.id == after)
    begin = next(found, 0)
    shown = rows[begin : begin + PAGE_ROWS]
    has_more = begin + PAGE_ROWS < len(rows)
    return Cut(shown, shown[-1].id if has_more else None, begin == 0)
