"""A run of ``batchmill run``: its batch found or made, the engine at work, the results written.

A run that was stopped has its batch in the folder's note; without one the
folder holds nothing that counts, and is emptied.
"""

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchmill.cli.run_folder import Note, RunFolder
from batchmill.cli.run_progress import as_shown, showing_run
from batchmill.cli.streams import open_text, write_pieces
from batchmill.config import Settings, load_prices
from batchmill.domain import convert
from batchmill.domain.batch import Batch, Status
from batchmill.domain.errors import ConfigError
from batchmill.service.batches import Batches, BatchSpec, Rules
from batchmill.service.caller import Caller
from batchmill.service.files import Files, FileSpec
from batchmill.wiring.engine import open_engine
from batchmill.wiring.parts import Parts, open_parts

BLOCK = 1024 * 1024

_CALLER = Caller()
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be run, and where the results go. ``digest`` is the input's SHA-256."""

    input: Path
    digest: str
    output: Path
    errors: Path
    endpoint: str
    window: str
    rules: convert.CsvRules | None


class Interrupted(Exception):
    """The person stopped the run; what is settled is kept."""

    def __init__(self, batch: Batch | None) -> None:
        super().__init__("interrupted")
        self.batch = batch


async def run_job(settings: Settings, job: Job, folder: RunFolder, note: Note | None) -> Batch:
    """Run ``job`` to its end and write its results; go on with the batch of ``note``.

    Raises Interrupted after SIGINT or SIGTERM, and what goes wrong with files.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with open_parts(settings, load_prices(settings)) as parts:
        batch_id = note.batch_id if note is not None else await _create(settings, parts, job)
        if note is None:
            folder.write(batch_id, job.digest)
        async with open_engine(settings, parts) as engine:
            working = asyncio.create_task(engine.run(stop, lambda: settings.engine.stop_grace))
            try:
                batch = await _watch(parts, batch_id, stop, working)
            finally:
                stop.set()
                await working
        if not batch.status.is_terminal:
            raise Interrupted(await parts.store.batches.get(batch.account, batch.id))
        if batch.status is not Status.FAILED:
            await _write_results(parts, batch, job, folder)
    return batch


async def _create(settings: Settings, parts: Parts, job: Job) -> str:
    """Take the input in and make a batch of it; its id."""
    limits = settings.to_limits()
    files = Files(store=parts.store.files, blobs=parts.blobs, clock=parts.clock, limits=limits)
    async with files.draft(_CALLER) as draft:
        for block in _blocks(job):
            await draft.write(block)
        file = await files.keep(_CALLER, draft, FileSpec(job.input.name, "batch"))
    rules = Rules(
        catalog=settings.catalog(),
        limits=limits,
        profile=settings.profile,
        prices=parts.prices,
    )
    batches = Batches(store=parts.store, clock=parts.clock, rules=rules, wake=lambda: None)
    state = await batches.create(_CALLER, BatchSpec(file.id, job.endpoint, job.window))
    return state.batch.id


def _blocks(job: Job) -> Iterator[bytes]:
    """The input as JSONL, in blocks."""
    if job.rules is None:
        with job.input.open("rb") as stream:
            while block := stream.read(BLOCK):
                yield block
        return
    with open_text(str(job.input)) as text:
        yield from convert.csv_to_requests(text, job.rules)


async def _watch(
    parts: Parts, batch_id: str, stop: asyncio.Event, working: "asyncio.Task[None]"
) -> Batch:
    """Show progress until the batch has ended or the run is stopped."""
    with showing_run() as display:
        while True:
            batch = await parts.store.batches.get(_CALLER.account, batch_id)
            if batch is None:
                raise ConfigError("The folder of the run was changed meanwhile: remove it.")
            display.update(as_shown(batch))
            if batch.status.is_terminal or stop.is_set() or working.done():
                return batch
            await asyncio.wait({working}, timeout=_LOOK_SECONDS)


# --- results ---


async def _write_results(parts: Parts, batch: Batch, job: Job, folder: RunFolder) -> None:
    """Both result files to where they were asked for; a table holds the lines of both."""
    results = [
        await _export(parts, file_id, folder.path / name)
        for file_id, name in ((batch.output_file_id, "output"), (batch.error_file_id, "error"))
    ]
    if job.output.suffix.lower() == ".csv":
        lines = (line for path in results for line in _lines(path))
        table = convert.rows_to_csv(convert.results_to_rows(lines))
        write_pieces(str(job.output), (piece.encode() for piece in table))
        return
    write_pieces(str(job.output), _lines(results[0]))
    if batch.error_file_id is not None:
        write_pieces(str(job.errors), _lines(results[1]))


async def _export(parts: Parts, file_id: str | None, path: Path) -> Path:
    """A result file as a plain file, empty where there is none."""
    file = await parts.store.files.get(_CALLER.account, file_id) if file_id else None
    with path.open("wb") as stream:
        if file is not None:
            async for chunk in parts.blobs.read(file.blob):
                stream.write(chunk)
    return path


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield from stream
