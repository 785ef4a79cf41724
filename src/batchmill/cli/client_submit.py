"""From an input to a batch: upload it where it is not on the server yet, then create.

The create is sent again when its answer is lost, always with the same
idempotency key, so that there is never a second batch. An upload is sent once.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from batchmill.cli.client_http import Api, Declined, Unreachable, decode, segment
from batchmill.cli.client_model import Batch, File
from batchmill.cli.client_progress import transferring
from batchmill.cli.client_session import World
from batchmill.cli.client_source import Source, first_url, open_jsonl, open_table, peek_url
from batchmill.cli.client_watch import FIRST_PAUSE, Seen
from batchmill.cli.streams import STDIO, say
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


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How a table is read, as far as it was said. Rows are numbered for want of an id column."""

    model: str | None = None
    prompt_column: str | None = None
    id_column: str | None = None
    system: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether anything was said."""
        return self != TableOptions()


def read_metadata(name: str | None, description: str | None, pairs: Sequence[str]) -> dict[str, str]:
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
    """How to read ``name`` as a table, None where it is none; raises InvalidRequest."""
    if not options.is_given and not name.lower().endswith(".csv"):
        return None
    if options.model is None:
        raise InvalidRequest(f"{name} is a table: say which model to ask, by --model.")
    if options.prompt_column is None:
        raise InvalidRequest(f"{name} is a table: say where the prompts are, by --prompt-column.")
    return CsvRules(
        model=options.model,
        endpoint=endpoint or CHAT,
        system=options.system,
        id_column=options.id_column,
        prompt_column=options.prompt_column,
    )


def is_file_id(name: str) -> bool:
    """Whether ``name`` is a file on the server rather than one here."""
    return name.startswith("file-") and not Path(name).exists()


def submit(api: Api, world: World, name: str, order: Order, rules: CsvRules | None) -> Seen:
    """Make a batch of a file here, of a table, or of a file that is on the server."""
    if is_file_id(name):
        endpoint = order.endpoint or _url_on_server(api, name)
        return create_batch(api, world, name, msgspec.structs_replace(order, endpoint))
    return _upload_and_create(api, world, name, order, rules)
