"""The page of one batch: how it stands, how it went, what it cost; and its files as tables.

Live until the batch comes to its end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response
from starlette.routing import BaseRoute

from batchmill.console.entry import action, page
from batchmill.console.pages.batch_head import again_address, load_head
from batchmill.console.transfer.result_table import stream_table
from batchmill.console.view.curve import draw_curve
from batchmill.console.view.life import life_of
from batchmill.console.visit import HEADERS, Visit
from batchmill.domain.batch import Batch
from batchmill.domain.errors import NotFound
from batchmill.domain.periods import Bucket
from batchmill.domain.pricing import Item
from batchmill.domain.usage import ZERO, Usage
from batchmill.door.content import ContentResponse
from batchmill.ports import Dimension, Milestone, SpendingLine, UsageLine
from batchmill.service.services import Services
from batchmill.service.usage_scope import UsageSpec

_ITEMS: Final[Mapping[Item, str]] = {
    Item.INPUT: "Input",
    Item.OUTPUT: "Output",
    Item.THINKING_INPUT: "Input, thinking",
    Item.THINKING_OUTPUT: "Output, thinking",
    Item.EMBEDDING: "Embedding",
}


class BatchPages:
    """The page, its result files as CSV, and running failed lines again."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._batches = services.batches

    def routes(self) -> Sequence[BaseRoute]:
        """The pages and actions, below the console's base."""
        return [
            page("/batches/{batch_id}", self.show),
            page("/batches/{batch_id}/output.csv", self.output_table),
            page("/batches/{batch_id}/errors.csv", self.error_table),
            action("/batches/{batch_id}/rerun-failed", self.rerun),
        ]

    async def show(self, visit: Visit) -> Response:
        """How the batch stands."""
        head = await load_head(self._services, visit, "overview")
        batch, outlook = head.batch, head.row.state.outlook
        course = await self._services.course.of(visit.caller, batch.id)
        has_failures = batch.counts.failed > 0
        groups = self._services.error_groups
        return visit.show(
            "batch.html",
            head=head,
            batch=batch,
            outlook=outlook,
            steps=life_of(batch, visit.now, outlook.eta_seconds),
            sums=sum_course(course),
            points=draw_curve(course, batch.in_progress_at or batch.created_at),
            groups=await groups.of(visit.caller, batch.id) if has_failures else (),
            items=await self._items(visit, batch),
            regions=await self._regions(visit, batch),
            rooms={room.id: room.name for room in visit.visitor.rooms},
            key=await self._key_of(visit, batch),
        )

    async def output_table(self, visit: Visit) -> Response:
        """The output file as CSV."""
        batch = (await self._batches.retrieve(visit.caller, visit.part("batch_id"))).batch
        return await self._table(visit, batch.output_file_id, f"{batch.id}-output.csv")

    async def error_table(self, visit: Visit) -> Response:
        """The error file as CSV."""
        batch = (await self._batches.retrieve(visit.caller, visit.part("batch_id"))).batch
        return await self._table(visit, batch.error_file_id, f"{batch.id}-errors.csv")

    async def rerun(self, visit: Visit) -> Response:
        """Make a file of the lines that failed, and go to where a batch is made of it."""
        batch = (await self._batches.retrieve(visit.caller, visit.part("batch_id"))).batch
        file = await self._services.reruns.failed_lines(visit.caller, batch.id)
        address = again_address(batch, file.id, description=f"Failed lines of {batch.id}")
        return visit.go(address, f"The lines that failed are now the file {file.filename}.")

    async def _table(self, visit: Visit, file_id: str | None, name: str) -> Response:
        if file_id is None:
            raise NotFound("The batch has no such file.")
        file = await self._services.files.retrieve(visit.caller, file_id)
        chunks = await self._services.files.read(visit.caller, file, start=0, end=file.bytes)
        headers = {
            **HEADERS,
            "content-type": "text/csv; charset=utf-8",
            "content-disposition": f'attachment; filename="{name}"',
        }
        return ContentResponse(stream_table(chunks), 200, headers)

    async def _items(self, visit: Visit, batch: Batch) -> Sequence["Charged"]:
        """What was charged so far, by kind; nothing where the bill is not the visitor's to see."""
        spec = UsageSpec(since=0.0, batches=(batch.id,))
        report = await self._services.accounting.reports.spending(visit.caller, spec)
        return sum_items(report.lines)

    async def _regions(self, visit: Visit, batch: Batch) -> Sequence["Served"]:
        """What each region has served so far, as far as the usage is the visitor's to see."""
        by_region = (Dimension.REGION,)
        spec = UsageSpec(0.0, bucket=Bucket.MONTH, group_by=by_region, batches=(batch.id,))
        report = await self._services.accounting.reports.usage(visit.caller, spec)
        return sum_regions(report.lines)

    async def _key_of(self, visit: Visit, batch: Batch) -> str | None:
        """The name of the key that made the batch, for who may see keys."""
        if batch.key_id is None or not visit.may("admin"):
            return batch.key_id
        try:
            return (await self._services.admin.keys.retrieve(visit.caller, batch.key_id)).name
        except NotFound:
            return batch.key_id


@dataclass(frozen=True, slots=True)
class CourseSums:
    """What all settled lines came to; ``latency`` is seconds a line, None without any."""

    calls: int
    rejections: int
    retries: int
    latency: float | None


@dataclass(frozen=True, slots=True)
class Charged:
    """What one kind of token was charged."""

    name: str
    tokens: int
    currency: str | None
    list_price: int
    price: int


@dataclass(frozen=True, slots=True)
class Served:
    """What one region has served; None is a place without a name, or no place at all."""

    region: str | None
    calls: int
    failures: int
    usage: Usage


def sum_course(course: Sequence[Milestone]) -> CourseSums:
    """The sums of a course."""
    calls = sum(one.calls for one in course)
    millis = sum(one.millis for one in course)
    return CourseSums(
        calls=calls,
        rejections=sum(one.rejections for one in course),
        retries=sum(one.retries for one in course),
        latency=millis / calls / 1_000 if calls else None,
    )


def sum_items(lines: Sequence[SpendingLine]) -> Sequence[Charged]:
    """Line items by kind and currency, in the order of the kinds."""
    sums: dict[tuple[Item, str | None], Charged] = {}
    for line in lines:
        key = (line.item, line.currency)
        before = sums.get(key) or Charged(_ITEMS[line.item], 0, line.currency, 0, 0)
        sums[key] = Charged(
            before.name,
            before.tokens + line.tokens,
            before.currency,
            before.list_price + line.list_price,
            before.price + line.price,
        )
    order = list(Item)
    return [sums[key] for key in sorted(sums, key=lambda key: (order.index(key[0]), str(key[1])))]


def sum_regions(lines: Sequence[UsageLine]) -> Sequence[Served]:
    """Usage by region over all periods, by name; nothing where no region has a name."""
    sums: dict[str | None, Served] = {}
    for line in lines:
        region = line.group.region
        before = sums.get(region) or Served(region, 0, 0, ZERO)
        sums[region] = Served(
            region,
            before.calls + line.calls,
            before.failures + line.failures,
            before.usage + line.usage,
        )
    has_names = any(region is not None for region in sums)
    return sorted(sums.values(), key=lambda one: one.region or "") if has_names else ()
