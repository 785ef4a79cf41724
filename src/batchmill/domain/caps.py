"""Caps: how much may be spent in a calendar month (UTC), or by one batch. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from batchmill.domain.ledger import Payer


class Scope(StrEnum):
    """What a monthly cap is set on."""

    ACCOUNT = "account"
    WORKSPACE = "workspace"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Cap:
    """A monthly limit in units of ``currency``.

    ``alert_percent`` of it is where an alert is sent, once a month: the month
    of the last one is ``alerted_month``, such as ``2026-11``.
    """

    account: str
    scope: Scope
    scope_id: str
    currency: str
    limit: int
    alert_percent: int | None = None
    alerted_month: str | None = None

    def covers(self, payer: Payer) -> bool:
        """Whether what ``payer`` spends counts under this cap."""
        ids = {
            Scope.ACCOUNT: payer.account,
            Scope.WORKSPACE: payer.workspace,
            Scope.KEY: payer.key,
        }
        return payer.account == self.account and ids[self.scope] == self.scope_id

    def is_reached(self, spent: int) -> bool:
        """Whether nothing more may be sent."""
        return spent >= self.limit

    def wants_alert(self, spent: int, month: str) -> bool:
        """Whether the threshold is passed, and has not been told this month."""
        if self.alert_percent is None or self.alerted_month == month:
            return False
        return spent * 100 >= self.limit * self.alert_percent


def month_of(at: float) -> str:
    """The calendar month in UTC, such as ``2026-11``."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m}"


def month_start(at: float) -> float:
    """When the calendar month of ``at`` began in UTC, in Unix seconds."""
    first = datetime.fromtimestamp(at, UTC).replace(day=1, hour=0, minute=0, second=0)
    return first.replace(microsecond=0).timestamp()
