"""``batchmill run``: a file through an upstream without a server, on the same engine.

Everything is kept in a folder beside the output until the results are
written: after Ctrl-C or a power cut the same command goes on where it was.
"""

import os
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from batchmill.cli.client_source import first_url
from batchmill.cli.config_show import ConfigFile
from batchmill.cli.descriptors import open_many
from batchmill.cli.discovery import any_model, offer_models
from batchmill.cli.run_folder import RunFolder, digest_of
from batchmill.cli.run_job import BLOCK, Interrupted, Job, run_job
from batchmill.cli.serve import KeyVariable, lock_folder, upstream_settings
from batchmill.cli.streams import one_sentence, plural, say
from batchmill.config import DataSettings, Settings, load_settings
from batchmill.domain import convert
from batchmill.domain.batch import Batch, Status
from batchmill.domain.errors import ConfigError, InvalidRequest
from batchmill.telemetry import configure_logging

_INTERRUPTED = 130

# What a person does with their own upstream is not measured against a vendor's service.
_UNLIMITED = {
    "limits.max_lines": 100_000_000,
    "limits.max_file_bytes": 2**50,
    "limits.max_total_bytes": 2**50,
    "limits.completion_window_min": 1,
    "limits.completion_window_max": 366 * 24 * 3600,
}


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
        folder = RunFolder(output)
        _check_output(file, output, folder, force=force)
        job = Job(
            input=file,
            digest=digest_of(file),
            output=output,
            errors=errors or output.with_name(f"{output.stem}.errors.jsonl"),
            endpoint=convert.CHAT if rules is not None else _guess_endpoint(file),
            window=window,
            rules=rules,
        )
        code = _run_in(folder, settings, job)
    raise typer.Exit(code)


def _run_in(folder: RunFolder, settings: Settings, job: Job) -> int:
    configure_logging("error")
    open_many()
    # Whatever database and bucket a server on this machine uses: a run keeps to its folder.
    data = DataSettings(dir=folder.path, region=settings.data.region)
    settings = settings.model_copy(update={"data": data})
    lock = lock_folder(folder.path)
    try:
        note = folder.open(job.digest)
        batch = uvloop.run(run_job(settings, job, folder, note))
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
    with file.open("rb") as stream:
        url = first_url(iter(lambda: stream.read(BLOCK), b""))
    return url or convert.CHAT


def _check_output(file: Path, output: Path, folder: RunFolder, *, force: bool) -> None:
    if not file.is_file():
        raise InvalidRequest(f"There is no file {file}.")
    if output.exists() and not folder.path.exists() and not force:
        raise InvalidRequest(f"{output} exists already: remove it, or give --force.")
