"""The lines of a batch: looked through while it runs and after its end, and each to be read."""

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import BaseRoute

from batchmill.console.entry import page
from batchmill.console.pages.batch_head import load_head
from batchmill.console.view.reading import Side, read_answer, read_request
from batchmill.console.visit import HEADERS, Visit
from batchmill.domain.errors import NotFound
from batchmill.service.line_facts import Facts, read_facts
from batchmill.service.lines import LineQuery, LineView
from batchmill.service.refusals import shorten
from batchmill.service.results import Outcome
from batchmill.service.services import Services

PAGE_ROWS: Final = 50

# Larger than any line's number.
_MOST_DIGITS: Final = 12


class LinesPages:
    """The list of lines, one line, and its two sides as they are stored."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lines = services.lines

    def routes(self) -> Sequence[BaseRoute]:
        """The pages, below the console's base."""
        one = "/batches/{batch_id}/lines/{number}"
        return [
            page("/batches/{batch_id}/lines", self.list),
            page(one, self.show),
            page(f"{one}/request.jsonl", self.request),
            page(f"{one}/result.jsonl", self.result),
        ]

    async def list(self, visit: Visit) -> Response:
        """A page of lines."""
        head = await load_head(self._services, visit, "lines")
        query = read_query(visit)
        found = await self._lines.page(visit.caller, head.batch.id, query)
        return visit.show(
            "lines.html",
            head=head,
            batch=head.batch,
            rows=found.rows,
            outcomes=tuple(Outcome),
            outcome=query.outcome or "",
            search=query.search or "",
            is_filtered=query.outcome is not None or query.search is not None,
            is_first=query.after is None,
            first=_address(visit, query),
            again=_address(visit, query, query.after),
            more=_address(visit, query, found.next_after) if found.next_after else None,
        )

    async def show(self, visit: Visit) -> Response:
        """One line: what was asked, and what was answered."""
        head = await load_head(self._services, visit, "lines")
        view = await self._view(visit)
        request, answer, facts = await asyncio.to_thread(_read, view)
        return visit.show(
            "line.html",
            head=head,
            batch=head.batch,
            line=view,
            request=request,
            answer=answer,
            facts=facts,
            is_panel=visit.request.headers.get("hx-request") == "true",
        )

    async def request(self, visit: Visit) -> Response:
        """The line of the input file."""
        view = await self._view(visit)
        return _download(view.request, f"{visit.part('batch_id')}-{view.number}-request.jsonl")

    async def result(self, visit: Visit) -> Response:
        """The line of the output or error file."""
        view = await self._view(visit)
        return _download(view.result, f"{visit.part('batch_id')}-{view.number}-result.jsonl")

    async def _view(self, visit: Visit) -> LineView:
        text = visit.part("number")
        if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
            raise NotFound(f"There is no line '{shorten(text)}'.")
        return await self._lines.line(visit.caller, visit.part("batch_id"), int(text))


def read_query(visit: Visit) -> LineQuery:
    """What the address asks for; an outcome that there is none of is as if it were not there."""
    outcome = visit.value("outcome")
    return LineQuery(
        limit=PAGE_ROWS,
        after=visit.value("after") or None,
        outcome=Outcome(outcome) if outcome in frozenset(Outcome) else None,
        search=visit.value("search") or None,
    )


def _read(view: LineView) -> tuple[Side | None, Side | None, Facts | None]:
    """Both sides laid out, and what the result says of itself; None for what is not there."""
    request = read_request(view.request) if view.request else None
    if view.result is None:
        return request, None, None
    return request, read_answer(view.result), read_facts(view.result)


def _download(data: bytes | None, name: str) -> Response:
    if not data:
        raise NotFound("The line is not stored: its file is gone, or the line has no result yet.")
    headers = {**HEADERS, "content-disposition": f'attachment; filename="{name}"'}
    return Response(data, headers=headers, media_type="application/jsonl")


def _address(visit: Visit, query: LineQuery, after: str | None = None) -> str:
    """This list as it is filtered, from the first line on or from behind one."""
    kept = {"outcome": query.outcome, "search": query.search, "after": after}
    asked = urlencode({name: text for name, text in kept.items() if text})
    path = f"{visit.desk.base}/batches/{visit.part('batch_id')}/lines"
    return f"{path}?{asked}" if asked else path
