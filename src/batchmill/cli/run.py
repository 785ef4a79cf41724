"""``batchmill run``: a file through an upstream without a server, on the same engine.

Everything is kept in a folder beside the output until the results are
written: after Ctrl-C or a power cut the same command goes on where it was.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from batchmill.cli.config_show import ConfigFile
from batchmill.cli.discovery import any_model, offer_models
from batchmill.cli.progress import LineProgress
from batchmill.cli.run_folder import Note, RunFolder, digest_of
from batchmill.cli.serve import KeyVariable, lock_folder, upstream_settings
from batchmill.cli.streams import one_sentence, open_text, plural, say, write_pieces
from batchmill.config import Settings, load_settings
from batchmill.domain import convert
from batchmill.domain.batch import Batch, Status
from batchmill.domain.errors import ConfigError, InvalidRequest
from batchmill.domain.lines import LineCutter, read_url
from batchmill.service.batches import Batches, BatchSpec, Rules
from batchmill.service.caller import Caller
from batchmill.service.files import Files, FileSpec
from batchmill.telemetry import configure_logging
from batchmill.wiring.engine import open_engine
from batchmill.wiring.parts import Parts, open_parts

_CALLER = Caller()
_LOOK_SECONDS = 0.2
_BLOCK = 1024 * 1024
_INTERRUPTED = 130

# What a person does with their own upstream is not measured against a vendor's service.
_UNLIMITED = {
    "limits.max_lines": 100_000_000,
    "limits.max_file_bytes": 2**50,
    "limits.max_total_bytes": 2**50,
    "limits.completion_window_min": 1,
    "limits.completion_window_max": 366 * 24 * 3600,
}


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be run, and where the results go."""

    input: Path
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


def register(app: typer.Typer) -> None:
    """Add ``run`` to the command line."""
    app.command("run")(run)


def run(
    file: Annotated[Path, typer.Argument(metavar="IN", help="A JSONL or CSV file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where results go; .csv makes a table.")
    ],
    upstream: Annotated[
        str | None,
        typer.Option("--upstream", metavar="URL", help="The model server's base URL."),
    ] = None,
    upstream_key_env: KeyVariable = None,
    config: ConfigFile = None,
    errors: Annotated[
        Path | None, typer.Option(help="Where failed lines go; beside the output by default.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model that rows of a CSV ask for.")
    ] = None,
    prompt_column: Annotated[
        str | None, typer.Option(help="The CSV column with the prompts: a name, or 1, 2, …")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="The CSV column with the ids; rows are numbered without.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="A system message for CSV rows.")] = None,
    max_in_flight: Annotated[
        int | None, typer.Option(min=1, help="Most requests at the upstream at once.")
    ] = None,
    window: Annotated[
        str, typer.Option(help="Give up on what is not done by then, such as 90m or 24h.")
    ] = "14d",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output.")] = False,
) -> None:
    """Run a file through an upstream, without a server; run it again to go on after a stop."""
    with one_sentence():
        settings = _settings(config, upstream, upstream_key_env, max_in_flight)
        rules = _csv_rules(file, model, prompt_column, id_column, system)
        job = Job(
            input=file,
            output=output,
            errors=errors or output.with_name(f"{output.stem}.errors.jsonl"),
            endpoint=convert.CHAT if rules is not None else _guess_endpoint(file),
            window=window,
            rules=rules,
        )
        folder = RunFolder(output)
        _check_output(job, folder, force=force)
        code = _run_in(folder, settings, job)
    raise typer.Exit(code)


def _run_in(folder: RunFolder, settings: Settings, job: Job) -> int:
    configure_logging("error")
    settings = settings.model_copy(
        update={"data": settings.data.model_copy(update={"dir": folder.path})}
    )
    lock = lock_folder(folder.path)
    try:
        batch = uvloop.run(_run(settings, job, folder))
    except Interrupted as interrupted:
        say(_say_kept(interrupted.batch))
        return _INTERRUPTED
    finally:
        os.close(lock)
    return _conclude(batch, job, folder)


def _say_kept(batch: Batch | None) -> str:
    if batch is None or not batch.counts.total:
        return "Stopped before the first line. Run the same command again to start."
    done = batch.counts.completed + batch.counts.failed
    kept = f"{done:,} of {plural(batch.counts.total, 'line')}"
    return f"Stopped; {kept} are kept. Run the same command again to go on."


def _conclude(batch: Batch, job: Job, folder: RunFolder) -> int:
    """Say how it ended, and forget the run: its results are written."""
    folder.clear()
    if batch.status is Status.FAILED:
        for error in batch.errors:
            say(f"line {error.line}: {error.message}" if error.line else error.message)
        say(f"{job.input} was not run: nothing was sent. Mend it and try again.")
        return 1
    counts, usage = batch.counts, batch.usage
    say(
        f"{plural(counts.completed, 'answer')} in {job.output}, "
        f"{usage.input:,} tokens in and {usage.output:,} out."
    )
    if counts.failed:
        say(f"{plural(counts.failed, 'failed line')} in {job.errors}.")
    return 1 if counts.failed else 0


# --- settings and input ---


def _settings(
    config: Path | None, upstream: str | None, key_env: str | None, max_in_flight: int | None
) -> Settings:
    loaded = load_settings(file=config, env=os.environ, flags=_UNLIMITED).settings
    if upstream is not None:
        (one,) = upstream_settings((upstream,), key_env)
        if max_in_flight is not None:
            one = one.model_copy(update={"max_in_flight": max_in_flight})
        return any_model(loaded, one)
    settings = offer_models(loaded, ())
    if not settings.models:
        raise ConfigError(
            "No model to ask: name its server with --upstream http://HOST:PORT/v1, "
            "or its configuration with --config."
        )
    return settings


def _csv_rules(
    file: Path,
    model: str | None,
    prompt_column: str | None,
    id_column: str | None,
    system: str | None,
) -> convert.CsvRules | None:
    if file.suffix.lower() != ".csv" and prompt_column is None:
        return None
    if model is None:
        raise InvalidRequest("A CSV file says nothing of a model: name it with --model.")
    return convert.CsvRules(
        model=model,
        endpoint=convert.CHAT,
        system=system,
        id_column=id_column,
        prompt_column=prompt_column or "1",
    )


def _guess_endpoint(file: Path) -> str:
    """The url of the first line that has one; the plan then checks all the others against it."""
    cutter = LineCutter(_BLOCK * 8)
    with file.open("rb") as stream:
        lines = cutter.feed(stream.read(_BLOCK)) + cutter.finish()
    urls = (read_url(line.data) for line in lines if line.data is not None)
    return next((url for url in urls if url is not None), convert.CHAT)


def _check_output(job: Job, folder: RunFolder, *, force: bool) -> None:
    if not job.input.is_file():
        raise InvalidRequest(f"There is no file {job.input}.")
    if job.output.exists() and not folder.path.exists() and not force:
        raise InvalidRequest(f"{job.output} exists already: remove it, or give --force.")


# --- the run ---


async def _run(settings: Settings, job: Job, folder: RunFolder) -> Batch:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with open_parts(settings) as parts:
        batch = await _find_or_create(settings, parts, job, folder)
        async with open_engine(settings, parts) as engine:
            working = asyncio.create_task(engine.run(stop, lambda: settings.engine.stop_grace))
            try:
                batch = await _watch(parts, batch.id, stop, working)
            finally:
                stop.set()
                await working
        if not batch.status.is_terminal:
            raise Interrupted(await parts.store.batches.get(batch.account, batch.id))
        if batch.status is not Status.FAILED:
            await _write_results(parts, batch, job, folder)
    return batch


async def _find_or_create(settings: Settings, parts: Parts, job: Job, folder: RunFolder) -> Batch:
    digest = await asyncio.to_thread(digest_of, job.input)
    note = folder.read(digest)
    if note is not None:
        batch = await parts.store.batches.get(_CALLER.account, note.batch_id)
        if batch is not None:
            return batch
    limits = settings.to_limits()
    files = Files(store=parts.store.files, blobs=parts.blobs, clock=parts.clock, limits=limits)
    async with files.draft() as draft:
        for block in _blocks(job):
            await draft.write(block)
        file = await files.keep(_CALLER, draft, FileSpec(job.input.name, "batch"))
    rules = Rules(catalog=settings.catalog(), limits=limits, profile=settings.profile)
    batches = Batches(store=parts.store, clock=parts.clock, rules=rules, wake=lambda: None)
    state = await batches.create(_CALLER, BatchSpec(file.id, job.endpoint, job.window))
    folder.write(Note(digest, job.endpoint, state.batch.id))
    return state.batch


def _blocks(job: Job) -> Iterator[bytes]:
    """The input as JSONL, in blocks."""
    if job.rules is None:
        with job.input.open("rb") as stream:
            while block := stream.read(_BLOCK):
                yield block
        return
    with open_text(str(job.input)) as text:
        yield from convert.csv_to_requests(text, job.rules)


async def _watch(
    parts: Parts, batch_id: str, stop: asyncio.Event, working: "asyncio.Task[None]"
) -> Batch:
    """Show progress until the batch has ended or the run is stopped."""
    with LineProgress("running") as progress:
        while True:
            batch = await parts.store.batches.get(_CALLER.account, batch_id)
            if batch is None:
                raise InvalidRequest("The folder of the run was changed meanwhile: remove it.")
            progress.show(batch.counts, batch.status)
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
