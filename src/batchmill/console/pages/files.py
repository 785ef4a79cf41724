"""The list of files: searched, filtered, with what uses each and how much room is left.

Bytes come in by ``upload`` and go out by ``download``. Deleting many deletes
each that can be, and tells by name why the others stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import BaseRoute

from batchmill.console.entry import action, page
from batchmill.console.transfer.download import send_download
from batchmill.console.visit import Visit
from batchmill.domain.errors import BatchmillError, InvalidRequest, NotFound
from batchmill.domain.file import File, Purpose
from batchmill.domain.limits import Limits
from batchmill.domain.rates import RateRule
from batchmill.door.access import Access
from batchmill.ports import FileQuery, FileUse, Page
from batchmill.service.files import Space
from batchmill.service.services import Services

PAGE_ROWS: Final = 50

_FILTERS: Final = ("search", "purpose")
_NAME_CHARS: Final = 120
_USES: Final = 2
_NEARLY: Final = 0.9


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a wish to delete: a sentence on those that are gone, one on each that is not.

    ``done`` is empty where nothing was deleted.
    """

    done: str
    failed: Sequence[str] = ()


class FilesPages:
    """The list, the bytes of a file, and deleting."""

    def __init__(self, services: Services, *, limits: Limits) -> None:
        self._files = services.files
        self._batches = services.batches
        self._limits = limits

    def routes(self) -> Sequence[BaseRoute]:
        """The pages and actions, below the console's base."""
        return [
            page("/files", self.list),
            page("/files/{file_id}/content", self.content),
            action("/files/delete", self.delete_picked, rate=RateRule.FILE_OTHER),
            action("/files/{file_id}/delete", self.delete, rate=RateRule.FILE_OTHER),
        ]

    async def list(self, visit: Visit) -> Response:
        """A page of files."""
        return await self._show(visit)

    async def content(self, visit: Visit) -> Response:
        """The bytes of a file, to be saved."""
        return await send_download(visit, self._files, visit.part("file_id"))

    async def delete(self, visit: Visit) -> Response:
        """Delete one file, and show the list without it."""
        return await self._delete(visit, [visit.part("file_id")])

    async def delete_picked(self, visit: Visit) -> Response:
        """Delete the files that were picked, and show the list without them."""
        picked = (await visit.form()).values("file")
        if not 0 < len(picked) <= PAGE_ROWS:
            raise InvalidRequest(f"Pick 1 to {PAGE_ROWS} files: this names {len(picked)}.")
        return await self._delete(visit, picked)

    async def _delete(self, visit: Visit, file_ids: Sequence[str]) -> Response:
        names: list[str] = []
        failed: list[str] = []
        for file_id in file_ids:
            name = short(file_id)
            try:
                name = short((await self._files.retrieve(visit.caller, file_id)).filename)
                await self._files.delete(visit.caller, file_id)
            except BatchmillError as error:
                failed.append(f"{name} was not deleted. {error.message}")
            else:
                names.append(name)
        return await self._show(visit, Report(_deleted(names), failed))

    async def _show(self, visit: Visit, report: Report | None = None) -> Response:
        query = read_query(visit)
        found, query = await self._find(visit, query)
        uses = await self._batches.using(visit.caller, [file.id for file in found.items])
        rows = [Row(file, uses.get(file.id, ()), visit.now) for file in found.items]
        return visit.show(
            "files.html",
            rows=rows,
            room=Room(await self._files.room(visit.caller)),
            report=report,
            is_part=visit.request.headers.get("hx-request") == "true",
            purposes=tuple(Purpose),
            chosen={name: visit.value(name) for name in _FILTERS},
            is_filtered=any(visit.value(name) for name in _FILTERS),
            is_first=query.after is None,
            newest=_address(visit),
            older=_address(visit, after=rows[-1].file.id) if found.has_more else None,
            max_bytes=self._limits.max_file_bytes,
            may_delete=visit.may(Access.WRITE),
        )

    async def _find(self, visit: Visit, query: FileQuery) -> tuple[Page[File], FileQuery]:
        """The page; from the newest on where the file that it should begin behind is gone."""
        try:
            return await self._files.list(visit.caller, query), query
        except NotFound:
            newest = replace(query, after=None)
            return await self._files.list(visit.caller, newest), newest


@dataclass(frozen=True, slots=True)
class Row:
    """A file as a line of the list shows it."""

    file: File
    uses: Sequence[FileUse]
    now: float

    @property
    def name(self) -> str:
        """As much of its name as fits."""
        return short(self.file.filename)

    @property
    def seconds_left(self) -> float | None:
        """Until it goes by itself; None for one that stays, and not below zero."""
        at = self.file.expires_at
        return None if at is None else max(at - self.now, 0.0)

    @property
    def first_uses(self) -> Sequence[FileUse]:
        """The batches that are shown at once."""
        return self.uses[:_USES]

    @property
    def other_uses(self) -> Sequence[FileUse]:
        """The batches that are shown on request."""
        return self.uses[_USES:]

    @property
    def is_input(self) -> bool:
        """Whether a batch can be made of it."""
        return self.file.purpose is Purpose.BATCH


@dataclass(frozen=True, slots=True)
class Room:
    """How much of its quota the account has used."""

    space: Space

    @property
    def is_short(self) -> bool:
        """Whether little is left."""
        space = self.space
        return space.files >= _NEARLY * space.max_files or space.bytes >= _NEARLY * space.max_bytes


def read_query(visit: Visit) -> FileQuery:
    """What the address asks for; what cannot be read is as if it were not there."""
    purpose = visit.value("purpose")
    return FileQuery(
        limit=PAGE_ROWS,
        after=visit.value("after") or None,
        purpose=purpose if purpose in frozenset(Purpose) else None,
        search=visit.value("search") or None,
    )


def short(name: str) -> str:
    """A name cut to what fits into a line or two; its end, which tells files apart, stays."""
    if len(name) <= _NAME_CHARS:
        return name
    half = _NAME_CHARS // 2
    return f"{name[:half]}…{name[-half:]}"


def _deleted(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} was deleted."
    return f"{len(names)} files were deleted." if names else ""


def _address(visit: Visit, **more: str) -> str:
    """This list with its filters, from the newest on or from behind a row."""
    kept: Mapping[str, Any] = {name: visit.values(name) for name in _FILTERS}
    return f"{visit.desk.base}/files?{urlencode({**kept, **more}, doseq=True)}"
