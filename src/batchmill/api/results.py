"""Live results over HTTP: NDJSON, a page at a time."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from batchmill.api import faults, samples
from batchmill.api.docs import Success, operation
from batchmill.api.doorkeeper import caller_of
from batchmill.api.routes import add_get
from batchmill.domain.rates import RateRule
from batchmill.door.access import Access
from batchmill.service.results import Outcome, ResultQuery, Results

_MAX_PAGE: Final = 10_000
_PAGE: Final = 1_000
_NDJSON: Final = "application/x-ndjson"


class ResultRoutes:
    """The operation of live results."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def router(self, base: str) -> APIRouter:
        """The route below ``base``."""
        router = APIRouter(prefix=base, tags=["Batches"])
        add_get(router, "/batches/{batch_id}/results", self.read, **_READ)
        return router

    async def read(
        self,
        request: Request,
        batch_id: str,
        after: Annotated[str | None, Query(description="What `x-next-after` said.")] = None,
        limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = _PAGE,
        status: Annotated[Outcome | None, Query(description="Only lines of this kind.")] = None,
    ) -> Response:
        """The next results."""
        query = ResultQuery(limit=limit, after=after or None, outcome=status)
        page = await self._results.page(caller_of(request), batch_id, query)
        headers = {
            "x-next-after": page.next_after,
            "x-has-more": "true" if page.has_more else "false",
        }
        body = b"".join(part for line in page.lines for part in (line, b"\n"))
        return Response(body, headers=headers, media_type=_NDJSON)


_READ: dict[str, Any] = operation(
    "readBatchResults",
    "Read results while the batch runs",
    "The results that have settled since `after`, in the shape of the output file's lines and in "
    "no promised order. Pass `x-next-after` on as `after` until `x-has-more` is `false`, with a "
    "pause where a page is empty: then every line has come exactly once. A page may hold fewer "
    "lines than `limit`.",
    access=Access.READ,
    rate=RateRule.BATCH_RETRIEVE,
    success=[
        Success(
            "Some results.",
            examples={"results": samples.RESULT_LINE},
            media_type=_NDJSON,
            headers={
                "x-next-after": "Pass it on as `after`.",
                "x-has-more": "`false` once every line has come and none can follow.",
            },
        )
    ],
    errors=[faults.BAD_LIMIT, faults.BAD_CURSOR, faults.BATCH_UNKNOWN, faults.FILE_UNKNOWN],
)
