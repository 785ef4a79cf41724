"""``batchmill demo``: the whole way of a batch in a minute, on a server of its own.

The server is the real one, started as a person would start it, on a free port
with a folder that is removed at the end. No process is left behind.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

import httpx2
import msgspec
import typer
from rich.console import Console
from rich.table import Table

from batchmill.cli.client_http import Api, Server, open_api
from batchmill.cli.client_session import World
from batchmill.cli.client_submit import Order, submit
from batchmill.cli.client_watch import Manner, Seen, watch_to_end
from batchmill.cli.streams import one_sentence
from batchmill.domain.errors import ConfigError
from batchmill.upstream.smollm2 import find_weights

SAMPLE: Final = files("batchmill.cli").joinpath("sample.jsonl")

_LOOKS = 300
_LOOK_SECONDS = 0.2
_STOP_SECONDS = 60


class _Message(msgspec.Struct):
    content: str = ""


class _Choice(msgspec.Struct):
    message: _Message


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Body(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage


class _Response(msgspec.Struct):
    body: _Body


class _Result(msgspec.Struct):
    custom_id: str
    response: _Response


class _Prompt(msgspec.Struct):
    content: str


class _PromptBody(msgspec.Struct):
    messages: list[_Prompt]


class _Request(msgspec.Struct):
    custom_id: str
    body: _PromptBody


def register(app: typer.Typer) -> None:
    """Add ``demo`` to the command line."""
    app.command("demo")(demo)


def demo(
    keep: Annotated[
        Path | None, typer.Option(help="Keep the server's folder here instead of removing it.")
    ] = None,
) -> None:
    """Start a server with a real small model, run the sample file, show the answers."""
    with one_sentence():
        if find_weights() is None:
            raise ConfigError(
                "The small model is not installed: ./scripts/demo in a checkout installs it, "
                "or docs/how-to/real-model.md says how. Any other server will do as well: "
                "batchmill serve --upstream URL."
            )
        with _folder(keep) as folder, _server(folder) as url, open_api(Server(url)) as api:
            _run(api, url)
    _say_how_to_go_on()


def _run(api: Api, url: str) -> None:
    world = World()
    typer.echo(f"A server is up on {url}. Uploading the sample file and creating a batch…")
    with _sample_file() as name:
        seen = submit(api, world, name, Order(None, "24h", {"ds_name": "demo"}, None), None)
    seen = watch_to_end(api, world, seen.batch.id, manner=Manner(), is_known=True)
    _show_answers(api, seen)


@contextmanager
def _sample_file() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="batchmill-sample-") as folder:
        path = Path(folder) / "sample.jsonl"
        path.write_bytes(SAMPLE.read_bytes())
        yield str(path)


def _show_answers(api: Api, seen: Seen) -> None:
    prompts = {
        request.custom_id: request.body.messages[-1].content
        for request in (
            msgspec.json.decode(line, type=_Request) for line in SAMPLE.read_bytes().splitlines()
        )
    }
    table = Table(title="Answers", show_lines=False)
    for heading in ("custom_id", "prompt", "answer"):
        table.add_column(heading, overflow="fold")
    table.add_column("in", justify="right")
    table.add_column("out", justify="right")
    for line in api.get(f"/files/{seen.batch.output_file_id}/content").splitlines():
        result = msgspec.json.decode(line, type=_Result)
        body = result.response.body
        answer = " ".join(body.choices[0].message.content.split())
        used = (str(body.usage.prompt_tokens), str(body.usage.completion_tokens))
        table.add_row(result.custom_id, prompts[result.custom_id], answer, *used)
    Console().print(table)
    usage = seen.batch.usage
    if usage is not None:
        typer.echo(f"Tokens: {usage.input_tokens:,} in, {usage.output_tokens:,} out.")


def _say_how_to_go_on() -> None:
    typer.echo(
        "The server is stopped. To go on with your own:\n"
        "  batchmill serve                                      the built-in models\n"
        "  batchmill serve --upstream http://localhost:8000/v1  every model of a vLLM or the like\n"
        "  batchmill submit --wait requests.jsonl               a batch on that server\n"
        "  batchmill run requests.jsonl -o answers.jsonl --upstream URL    without a server\n"
        "In a checkout the command is .venv/bin/batchmill. Any OpenAI client works too:\n"
        "set its base_url to http://127.0.0.1:8080/v1."
    )


# --- the server ---


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        yield keep
        return
    folder = Path(tempfile.mkdtemp(prefix="batchmill-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """A server of this very batchmill on a free port; stopped at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "batchmill", "serve", "--port", "0", "--data-dir", str(folder)]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)  # noqa: S603
    try:
        yield _wait_until_ready(process, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_ready(process: "subprocess.Popen[bytes]", folder: Path) -> str:
    greeting = process.stdout.readline().decode() if process.stdout else ""
    url = greeting.rpartition(" ")[2].strip()
    if not url.startswith("http"):
        log = (folder / "server.log").read_text(errors="replace").strip()
        raise ConfigError(f"The server did not start. It said: {log or 'nothing'}")
    with httpx2.Client(base_url=url.removesuffix("/v1"), trust_env=False) as root:
        for _ in range(_LOOKS):
            if _is_ready(root):
                return url
            time.sleep(_LOOK_SECONDS)
    raise ConfigError("The server did not become ready in a minute.")


def _is_ready(root: httpx2.Client) -> bool:
    try:
        return root.get("/readyz").is_success
    except httpx2.RequestError:
        return False
