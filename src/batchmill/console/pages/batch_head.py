"""The head of a batch: what stands above each of its tabs, and what can be done with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from batchmill.console.pages.batches import Row
from batchmill.console.view.figures import exact
from batchmill.console.visit import Visit
from batchmill.domain.batch import Batch, Halt, Status
from batchmill.domain.errors import NotFound
from batchmill.domain.file import File
from batchmill.service.services import Services

_HALTS: Final[Mapping[Halt, str]] = {
    Halt.BUDGET: "Its budget was used up, so the lines that were left were not sent.",
    Halt.ACCOUNT: "The account's monthly limit was reached, so the lines left were not sent.",
    Halt.WORKSPACE: "The workspace's monthly limit was reached, so the lines left were not sent.",
    Halt.KEY: "The key's monthly limit was reached, so the lines left were not sent.",
}
_ENDS: Final[Mapping[Status, str]] = {
    Status.EXPIRED: "Its deadline passed, so the lines that were left were not run.",
    Status.CANCELLED: "It was cancelled, so the lines that were left were not run.",
}
_NAMES: Final = frozenset({"ds_name", "ds_description"})
_MOST_METADATA_CHARS: Final = 2_000


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A file of a batch; ``file`` is None where it is gone, ``id`` where it was never made."""

    role: str
    id: str | None
    file: File | None = None
    table: str | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """What stands above every tab of a batch. ``again`` is where it is started again."""

    row: Row
    files: Sequence[BatchFile]
    tab: str

    @property
    def batch(self) -> Batch:
        """The batch itself."""
        return self.row.batch

    @property
    def is_live(self) -> bool:
        """Whether anything of it can still change."""
        return not self.batch.status.is_terminal

    @property
    def again(self) -> str | None:
        """Where the same input is started once more; None where it is gone."""
        return again_address(self.batch, self.batch.input_file_id) if self.files[0].file else None

    @property
    def has_failed_lines(self) -> bool:
        """Whether there are lines that could be run again."""
        return not self.is_live and all(self.files[at].file for at in (0, 2))

    @property
    def ending(self) -> str | None:
        """Why not every line was run."""
        batch = self.batch
        if batch.halt is not None:
            return _HALTS[batch.halt]
        return _ENDS.get(batch.verdict or batch.status)


async def load_head(services: Services, visit: Visit, tab: str) -> Head:
    """The head of the batch that the path names; raises NotFound."""
    state = await services.batches.retrieve(visit.caller, visit.part("batch_id"))
    return Head(Row(state, visit.now), await _files_of(services, visit, state.batch), tab)


async def _files_of(services: Services, visit: Visit, batch: Batch) -> Sequence[BatchFile]:
    wanted = (
        ("Input", batch.input_file_id, None),
        ("Output", batch.output_file_id, "output.csv"),
        ("Errors", batch.error_file_id, "errors.csv"),
    )
    found = []
    for role, file_id, table in wanted:
        try:
            file = None if file_id is None else await services.files.retrieve(visit.caller, file_id)
        except NotFound:
            file = None
        found.append(BatchFile(role, file_id, file, table))
    return found


def again_address(batch: Batch, file_id: str, *, description: str | None = None) -> str:
    """Where a batch like this one is made of a file, below the console's base."""
    metadata = batch.metadata or {}
    fields = {
        "file": file_id,
        "name": metadata.get("ds_name"),
        "description": description or metadata.get("ds_description"),
        "window": batch.completion_window,
        "budget": None if batch.budget is None else exact(batch.budget),
        "metadata": _spell_metadata(metadata),
    }
    return f"/batches/new?{urlencode({name: text for name, text in fields.items() if text})}"


def _spell_metadata(metadata: Mapping[str, str]) -> str | None:
    """The other metadata as the form takes it; none of it where it does not fit an address."""
    others = [(key, text) for key, text in metadata.items() if key not in _NAMES]
    spelled = "\n".join(f"{key}={text}" for key, text in others)
    return spelled if len(spelled) <= _MOST_METADATA_CHARS else None
