"""Monthly caps: set, list, remove; and how this month stands against them.

Admins cap their account's workspaces and keys. The cap of an account is set by
the operator's admins alone, so that nobody lifts what the operator laid down.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from batchmill.domain.account import Deed
from batchmill.domain.caps import Cap, Scope, month_of, month_start
from batchmill.domain.errors import Forbidden, InvalidRequest, NotFound
from batchmill.domain.ledger import Payer
from batchmill.domain.money import parse_amount, text_of
from batchmill.domain.periods import LATEST
from batchmill.domain.pricing import NO_PRICES, PriceTable
from batchmill.ports import Clock, Spent, Store, UsageFilter
from batchmill.service.accounts import account_for, in_account
from batchmill.service.caller import Caller
from batchmill.service.deeds import deed_of
from batchmill.service.refusals import (
    invalid_value,
    is_plausible_id,
    missing_parameter,
    require_within,
    shorten,
)
from batchmill.service.usage_scope import account_scope, workspace_scope

_TENTHS = 1_000


@dataclass(frozen=True, slots=True)
class CapSpec:
    """What an admin asks for. ``scope_id`` None is the account itself.

    ``currency`` None is that of the prices, where they have but one.
    """

    scope: Scope
    limit: str
    scope_id: str | None = None
    currency: str | None = None
    alert_percent: int | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class CapState:
    """A cap, what was ``charged`` under it this month, and what runs on top."""

    cap: Cap
    charged: int = 0
    running: int = 0

    @property
    def spent(self) -> int:
        """All that counts under it, in units."""
        return self.charged + self.running

    @property
    def percent(self) -> float:
        """How much of the limit is used, in tenths rounded down; over 100 where it is passed."""
        if not self.cap.limit:
            return 100.0
        return self.spent * _TENTHS // self.cap.limit / 10


@dataclass(frozen=True, slots=True)
class Month:
    """What the caller sees of this month, by currency in units, and the caps over it."""

    name: str
    charged: dict[str, int] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    caps: Sequence[CapState] = ()


class Caps:
    """The use-cases of caps. ``prices`` say which currencies can be spent at all."""

    def __init__(self, *, store: Store, clock: Clock, prices: PriceTable = NO_PRICES) -> None:
        self._store = store
        self._clock = clock
        self._currencies = sorted({price.currency for price in prices.prices})

    @property
    def currencies(self) -> Sequence[str]:
        """What can be spent at all; nothing where no model has a price."""
        return self._currencies

    async def put(self, caller: Caller, spec: CapSpec) -> CapState:
        """Set or replace a cap; raises InvalidRequest, NotFound and Forbidden."""
        account = await self._owner(caller, spec.scope, spec.scope_id, spec.account)
        cap = Cap(
            account=account,
            scope=spec.scope,
            scope_id=await self._target(spec, account),
            currency=self._currency(spec.currency),
            limit=_read_limit(spec.limit),
            alert_percent=_read_percent(spec.alert_percent),
        )
        deed = self._deed(caller, "cap.changed", cap, detail=_told(cap))
        await self._store.caps.put(cap, in_account(deed, account))
        return (await self._states([cap], account))[0]

    async def remove(
        self, caller: Caller, scope: Scope, scope_id: str, currency: str, account: str | None = None
    ) -> Cap:
        """Remove a cap; raises NotFound and Forbidden."""
        owner = await self._owner(caller, scope, scope_id, account)
        for cap in await self._store.caps.list(owner):
            if (cap.scope, cap.scope_id, cap.currency) == (scope, scope_id, currency):
                deed = self._deed(caller, "cap.removed", cap, detail=_told(cap))
                await self._store.caps.remove(cap, in_account(deed, owner))
                return cap
        message = f"No limit in '{shorten(currency)}' found on {scope} '{shorten(scope_id)}'."
        raise NotFound(message)

    async def list(self, caller: Caller, account: str | None = None) -> Sequence[CapState]:
        """The account's caps, or those of all; raises NotFound."""
        owner = await account_scope(caller, account, self._store)
        return await self._states(await self._store.caps.list(owner), owner)

    async def month(self, caller: Caller, account: str | None = None) -> Month:
        """This month, as far as the caller sees the account; raises NotFound."""
        owner = await account_scope(caller, account, self._store)
        rooms = workspace_scope(caller, ())
        spent = await self._spent(owner, rooms)
        caps = [cap for cap in await self._store.caps.list(owner) if await self._shows(cap, rooms)]
        month = Month(month_of(self._clock.now()), caps=[state_of(cap, spent) for cap in caps])
        for one in spent:
            month.charged[one.currency] = month.charged.get(one.currency, 0) + one.charged
            month.running[one.currency] = month.running.get(one.currency, 0) + one.running
        return month

    async def _owner(
        self, caller: Caller, scope: Scope, scope_id: str | None, account: str | None
    ) -> str:
        if scope is Scope.ACCOUNT:
            if not caller.is_operator:
                message = (
                    "The limit of an account is set by admins of the operator's account: ask "
                    "them, or set one on a workspace or a key."
                )
                raise Forbidden(message, param="scope", code="permission_denied")
            account = scope_id or account
        return await account_for(caller, account, self._store)

    async def _target(self, spec: CapSpec, account: str) -> str:
        """The id of what is capped; raises NotFound unless it is the account's."""
        if spec.scope is Scope.ACCOUNT:
            return account
        if spec.scope_id is None:
            raise missing_parameter("id")
        rows = self._store.workspaces if spec.scope is Scope.WORKSPACE else self._store.keys
        plausible = is_plausible_id(spec.scope_id)
        if not plausible or await rows.get(account, spec.scope_id) is None:
            message = f"No {spec.scope} found with id '{shorten(spec.scope_id)}'."
            raise NotFound(message, param="id")
        return spec.scope_id

    def _currency(self, named: str | None) -> str:
        """A cap in a currency that nothing is priced in would never be reached."""
        if not self._currencies:
            message = "No model has a price, so no limit would be reached: set prices.file first."
            raise InvalidRequest(message, param="currency", code="no_prices")
        if named is None and len(self._currencies) > 1:
            raise missing_parameter("currency")
        currency = self._currencies[0] if named is None else named
        if currency not in self._currencies:
            raise invalid_value(currency, self._currencies, "currency")
        return currency

    async def _shows(self, cap: Cap, rooms: Sequence[str]) -> bool:
        if not rooms:
            return True
        if cap.scope is Scope.KEY:
            key = await self._store.keys.get(cap.account, cap.scope_id)
            return key is not None and key.workspace in rooms
        return cap.scope is Scope.WORKSPACE and cap.scope_id in rooms

    async def _states(self, caps: Sequence[Cap], account: str | None) -> Sequence[CapState]:
        spent = await self._spent(account, ())
        return [state_of(cap, spent) for cap in caps]

    async def _spent(self, account: str | None, rooms: tuple[str, ...]) -> Sequence[Spent]:
        since = month_start(self._clock.now())
        return await self._store.usage.spent(UsageFilter(account, since, LATEST, workspaces=rooms))

    def _deed(self, caller: Caller, action: str, cap: Cap, *, detail: str) -> Deed:
        target = f"{cap.scope}/{cap.scope_id}"
        return deed_of(caller, action, target, self._clock.now(), detail=detail)


def state_of(cap: Cap, spent: Sequence[Spent]) -> CapState:
    """How a cap stands, given what was spent in its account this month."""
    counted = [one for one in spent if one.currency == cap.currency and cap.covers(_payer(one))]
    return CapState(cap, sum(one.charged for one in counted), sum(one.running for one in counted))


def _payer(spent: Spent) -> Payer:
    return Payer(spent.account, spent.workspace, spent.key)


def _told(cap: Cap) -> str:
    alert = "" if cap.alert_percent is None else f", alert at {cap.alert_percent} %"
    return f"{text_of(cap.limit)} {cap.currency} a month{alert}"


def _read_limit(text: str) -> int:
    limit = parse_amount(text)
    if limit is None:
        message = (
            "Invalid 'limit': expected an amount such as '20.00', with at most 12 digits before "
            f"the point and 15 behind it, but got '{shorten(text)}' instead."
        )
        raise InvalidRequest(message, param="limit", code="invalid_value")
    return limit


def _read_percent(percent: int | None) -> int | None:
    if percent is not None:
        require_within(percent, low=1, high=100, param="alert_percent")
    return percent
