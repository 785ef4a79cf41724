"""The list of batches: searched, filtered and shared by its address, live while anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import BaseRoute

from batchmill.console.entry import action, page
from batchmill.console.visit import Visit
from batchmill.domain.batch import Batch, Status
from batchmill.domain.limits import DAY, Limits
from batchmill.domain.rates import RateRule
from batchmill.ports import BatchQuery
from batchmill.service.batches import BatchState
from batchmill.service.services import Services

PAGE_ROWS: Final = 50

_FILTERS: Final = ("search", "status", "workspace", "model", "since", "until")


class BatchesPages:
    """The list, and the cancelling of one of its rows."""

    def __init__(self, services: Services, *, limits: Limits) -> None:
        self._batches = services.batches
        self._models = services.models
        self._list_days = limits.list_days

    def routes(self) -> Sequence[BaseRoute]:
        """The pages and actions, below the console's base."""
        return [
            page("/batches", self.list),
            action("/batches/{batch_id}/cancel", self.cancel, rate=RateRule.BATCH_CANCEL),
        ]

    async def list(self, visit: Visit) -> Response:
        """A page of batches."""
        query = read_query(visit)
        found = await self._batches.list(visit.caller, query)
        rows = [Row(state, visit.now) for state in found.items]
        names = {room.id: room.name for room in visit.visitor.rooms}
        return visit.show(
            "batches.html",
            rows=rows,
            is_live=any(not row.batch.status.is_terminal for row in rows),
            workspaces=names,
            models=[model.id for model in self._models.list(visit.caller)],
            statuses=tuple(Status),
            chosen={name: visit.value(name) for name in _FILTERS},
            is_filtered=any(visit.value(name) for name in _FILTERS),
            is_first=query.after is None,
            newest=_address(visit),
            older=_address(visit, after=rows[-1].batch.id) if found.has_more else None,
            list_days=self._list_days,
        )

    async def cancel(self, visit: Visit) -> Response:
        """Ask a batch to stop, and show the page that this was asked on."""
        state = await self._batches.cancel(visit.caller, visit.part("batch_id"))
        word = "is cancelled" if state.batch.status is Status.CANCELLED else "is being cancelled"
        return visit.go(f"/batches/{state.batch.id}", f"{title_of(state.batch)} {word}.")


@dataclass(frozen=True, slots=True)
class Row:
    """A batch as a line of the list shows it."""

    state: BatchState
    now: float

    @property
    def batch(self) -> Batch:
        """The batch itself."""
        return self.state.batch

    @property
    def title(self) -> str:
        """Its name, or its id where it has none."""
        return title_of(self.batch)

    @property
    def description(self) -> str:
        """What its owner says of it."""
        return (self.batch.metadata or {}).get("ds_description", "")

    @property
    def processed(self) -> int:
        """Lines that are settled, one way or the other."""
        return self.batch.counts.completed + self.batch.counts.failed

    @property
    def share(self) -> float | None:
        """How much of it is settled, of one."""
        total = self.batch.counts.total
        return self.processed / total if total else None

    @property
    def margin(self) -> float | None:
        """Seconds between the expected end and the deadline; None where that cannot be told."""
        eta = self.state.outlook.eta_seconds
        return None if eta is None else self.batch.expires_at - self.now - eta

    @property
    def can_cancel(self) -> bool:
        """Whether it can still be cancelled."""
        return self.batch.status in {Status.VALIDATING, Status.IN_PROGRESS}

    @property
    def fault(self) -> str | None:
        """Why it failed, in short."""
        errors = self.batch.errors
        if not errors:
            return None
        first = errors[0]
        where = "" if first.line is None else f"line {first.line}: "
        more = "" if len(errors) == 1 else f" (and {len(errors) - 1} more)"
        return f"{where}{first.message}{more}"


def title_of(batch: Batch) -> str:
    """The batch's name, or its id where it has none."""
    return (batch.metadata or {}).get("ds_name") or batch.id


def read_query(visit: Visit) -> BatchQuery:
    """What the address asks for; what cannot be read is as if it were not there."""
    statuses = (text for text in visit.values("status") if text in frozenset(Status))
    return BatchQuery(
        limit=PAGE_ROWS,
        after=visit.value("after") or None,
        search=visit.value("search") or None,
        statuses=tuple(Status(text) for text in statuses),
        workspaces=visit.values("workspace"),
        models=visit.values("model"),
        created_after=day_start(visit.value("since"), visit.zone),
        created_before=day_end(visit.value("until"), visit.zone),
    )


def day_start(text: str, zone: tzinfo) -> float | None:
    """When the day (``2026-11-22``) begins in ``zone``; None for what is no day."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() if text else None
    except (ValueError, OverflowError):
        return None


def day_end(text: str, zone: tzinfo) -> float | None:
    """The last instant of the day in ``zone``; None for what is no day."""
    begin = day_start(text, zone)
    if begin is None:
        return None
    return (datetime.fromtimestamp(begin, zone) + timedelta(seconds=DAY)).timestamp() - 0.001


def _address(visit: Visit, **more: str) -> str:
    """This list with its filters, from the newest on or from behind a row."""
    kept: Mapping[str, Any] = {name: visit.values(name) for name in _FILTERS}
    return f"{visit.desk.base}/batches?{urlencode({**kept, **more}, doseq=True)}"
