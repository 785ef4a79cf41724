"""From an input to a batch: upload it where it is not on the server yet, then create.

The create is sent again when its answer is lost, always with the same
idempotency key, so that there is never a second batch. An upload is sent once.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from batchmill.cli.client_http import Api, Declined, Unreachable, decode, segment
from batchmill.cli.client_model import Named
from batchmill.cli.client_progress import transferring
from batchmill.cli.client_session import World
from batchmill.cli.client_source import Source, first_url, open_jsonl, open_table, peek_url
from batchmill.cli.client_watch import FIRST_PAUSE, Seen
from batchmill.cli.streams import say
from batchmill.domain.convert import CHAT, CsvRules
from batchmill.domain.errors import BatchmillError, InvalidRequest

CREATE_TRIES: Final = 5
NAME: Final = "ds_name"
DESCRIPTION: Final = "ds_description"


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for; ``endpoint`` None is that of the first line, ``key`` None is a new one."""

    endpoint: str | None
    window: str
    metadata: Mapping[str, str]
    key: str | None
    budget: str | None = None


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file that is on the server now, and the server's own words for it."""

    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How a table is read, as far as it was said."""

    model: str | None = None
    prompt_column: str | None = None
    id_column: str | None = None
    number_rows: bool = False
    system: str | None = None


def read_metadata(
    name: str | None, description: str | None, pairs: Sequence[str]
) -> dict[str, str]:
    """The metadata of a batch from the options; raises InvalidRequest."""
    metadata: dict[str, str] = {}
    for pair in pairs:
        key, found, value = pair.partition("=")
        if not found or not key:
            raise InvalidRequest(f"--metadata takes key=value, not '{pair}'.")
        metadata[key] = value
    named = {NAME: name, DESCRIPTION: description}
    return metadata | {key: value for key, value in named.items() if value is not None}


def table_rules(name: str, options: TableOptions, endpoint: str | None) -> CsvRules | None:
    """How to read ``name`` as a table, None where it is none; raises InvalidRequest.

    A table is what ends in ``.csv``, and what an option for tables is given with.
    """
    if options == TableOptions() and not name.lower().endswith(".csv"):
        return None
    if options.model is None:
        raise InvalidRequest(f"{name} is read as a table: say which model to ask, by --model.")
    return CsvRules(
        model=options.model,
        endpoint=endpoint or CHAT,
        system=options.system,
        id_column=None if options.number_rows else options.id_column or "1",
        prompt_column=options.prompt_column or "2",
    )


def submit(api: Api, world: World, name: str, order: Order, rules: CsvRules | None) -> Seen:
    """Make a batch of a file here, of a table, or of a file that is on the server by its id.

    Raises what the server refuses with, and InvalidRequest where the endpoint
    cannot be guessed.
    """
    if rules is None and _is_file_id(name):
        url = order.endpoint or _url_on_server(api, name)
        return _create(api, world, name, replace(order, endpoint=_known(url, name)))
    with _open(name, order.endpoint, rules) as (endpoint, source):
        file_id = upload(api, world, source).id
    try:
        return _create(api, world, file_id, replace(order, endpoint=endpoint))
    except BatchmillError:
        say(f"The file is on the server: go on from there by `batchmill submit {file_id}`.")
        raise


def upload(api: Api, world: World, source: Source) -> Uploaded:
    """Upload an input file, with a bar where a person looks."""
    with transferring(world.stderr(), f"Uploading {source.filename}", source.size) as advance:
        body = api.upload(source, advance)
    return Uploaded(decode(body, Named).id, body)


@contextmanager
def _open(name: str, endpoint: str | None, rules: CsvRules | None) -> Iterator[tuple[str, Source]]:
    """An input and the endpoint that it is for."""
    if rules is not None:
        with open_table(name, rules) as source:
            yield rules.endpoint, source
        return
    with open_jsonl(name) as source:
        if endpoint is None:
            url, source_again = peek_url(source)
            yield _known(url, name), source_again
        else:
            yield endpoint, source


def _is_file_id(name: str) -> bool:
    return name.startswith("file-") and not Path(name).exists()


def _url_on_server(api: Api, file_id: str) -> str | None:
    with api.download(f"/files/{segment(file_id)}/content") as download:
        return first_url(download.pieces)


def _known(url: str | None, name: str) -> str:
    if url is None:
        raise InvalidRequest(
            f"{name} does not begin with a request that names its url: "
            "look for faults by `batchmill check`, or give --endpoint."
        )
    return url


def _create(api: Api, world: World, file_id: str, order: Order) -> Seen:
    """Create the batch, again and again with one key while what fails may pass."""
    asked = {
        "input_file_id": file_id,
        "endpoint": order.endpoint,
        "completion_window": order.window,
        "metadata": dict(order.metadata) or None,
        **({"batchmill": {"budget": order.budget}} if order.budget else {}),
    }
    headers = {"idempotency-key": order.key or world.new_key()}
    pause = FIRST_PAUSE
    for _ in range(CREATE_TRIES - 1):
        try:
            return Seen.read(api.post("/batches", asked, headers))
        except (Unreachable, Declined) as error:
            if isinstance(error, Declined) and not error.is_passing:
                raise
        world.sleep(pause)
        pause *= 2
    return Seen.read(api.post("/batches", asked, headers))
