"""Tables to requests, results to tables, and the generator of requests.

Iterables in, iterables out: no files, and no more than a row is held (of the
custom_ids all are). What a user got wrong is an InvalidRequest that names the
row. Cells are written as they are: a spreadsheet may take one that begins with
``=`` for a formula, so open results from strangers as text.
"""

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from batchmill.domain.catalog import TEST_ENDPOINT
from batchmill.domain.envelope import UNREADABLE, decode
from batchmill.domain.errors import InvalidRequest

BOM: Final = "\ufeff"
CHAT: Final = "/v1/chat/completions"
EMBEDDINGS: Final = "/v1/embeddings"
DEFAULT_MODEL: Final = "qwen-plus"
DEFAULT_EMBEDDING_MODEL: Final = "text-embedding-v4"
DEFAULT_SYSTEM: Final = "You are a helpful assistant."
COLUMNS: Final = (
    "custom_id",
    "model",
    "request_id",
    "status_code",
    "error_code",
    "error_message",
    "created",
    "content",
    "usage",
)

_RESULT: Final = msgspec.json.Decoder(dict[str, Any])

# The csv module refuses cells above 128 KiB unless told otherwise, and it can only be told for the
# whole process; a prompt may have 6 MB.
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))


# --- Requests ---


def request_line(custom_id: str, endpoint: str, body: Mapping[str, Any]) -> bytes:
    """One line of an input file, with its newline."""
    line = {"custom_id": custom_id, "method": "POST", "url": endpoint, "body": body}
    return msgspec.json.encode(line) + b"\n"


def _body(endpoint: str, model: str, prompt: str, system: str | None) -> dict[str, Any]:
    """The body that asks ``prompt`` of an endpoint."""
    if endpoint in {CHAT, TEST_ENDPOINT}:
        return {"model": model, "messages": _messages(prompt, system)}
    if endpoint == EMBEDDINGS:
        return {"model": model, "input": prompt, "encoding_format": "float"}
    if endpoint == "/v1/completions":
        return {"model": model, "prompt": prompt}
    if endpoint == "/v1/responses":
        instructions = {} if system is None else {"instructions": system}
        return {"model": model, "input": prompt, **instructions}
    if endpoint == "/v1/moderations":
        return {"model": model, "input": prompt}
    raise InvalidRequest(
        f"Requests for '{endpoint}' cannot be made from a prompt alone; "
        f"use '{CHAT}', '{EMBEDDINGS}', '/v1/completions', '/v1/responses' or '/v1/moderations'."
    )


def _messages(content: str | list[dict[str, Any]], system: str | None) -> list[dict[str, Any]]:
    user = {"role": "user", "content": content}
    return [user] if system is None else [{"role": "system", "content": system}, user]


# --- CSV to requests ---


@dataclass(frozen=True, slots=True)
class CsvRules:
    """How the rows of a table become requests.

    A column is a position from 1, or a name of the header. Without an
    ``id_column`` rows are numbered ``request-1``, ``request-2``, … . ``header``
    None means: there is one if a column is given by name. ``extra`` is added to
    each body.
    """

    model: str = DEFAULT_MODEL
    endpoint: str = CHAT
    system: str | None = None
    id_column: str | None = "1"
    prompt_column: str = "2"
    header: bool | None = None
    delimiter: str = ","
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_header(self) -> bool:
        """Whether the first row names the columns."""
        if self.header is not None:
            return self.header
        columns = (self.id_column or "1", self.prompt_column)
        return not all(_is_position(column) for column in columns)


def csv_to_requests(text: Iterable[str], rules: CsvRules) -> Iterator[bytes]:
    """The lines of an input file, one a row; rows without any text are skipped.

    ``text`` is the CSV in lines, their ends kept (a file opened with
    ``newline=""``). Rows are counted as a spreadsheet counts them. Raises
    InvalidRequest.
    """
    rows = enumerate(_read_rows(text, rules.delimiter), start=1)
    header = next(rows, (0, []))[1] if rules.has_header else []
    prompt_at = _position(rules.prompt_column, header)
    id_at = None if rules.id_column is None else _position(rules.id_column, header)
    made, seen = 0, dict[str, int]()
    for number, row in rows:
        if not any(cell.strip() for cell in row):
            continue
        made += 1
        prompt = _cell(row, prompt_at, number, "prompt")
        if id_at is None:
            custom_id = f"request-{made}"
        else:
            custom_id = _cell(row, id_at, number, "id")
            _note_id(custom_id, number, seen)
        body = _body(rules.endpoint, rules.model, prompt, rules.system)
        yield request_line(custom_id, rules.endpoint, {**body, **rules.extra})


def _read_rows(text: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """The rows of a CSV; strict, because a stray quote would swallow the rest of the file."""
    reader = csv.reader(_without_bom(text), delimiter=delimiter, strict=True)
    number = 0
    try:
        for row in reader:
            number += 1
            yield row
    except csv.Error as error:
        raise InvalidRequest(
            f"Row {number + 1} (up to line {reader.line_num}) is not valid CSV: {error}. "
            "Put cells with quotes into quotes, and double the quotes within."
        ) from None


def _without_bom(text: Iterable[str]) -> Iterator[str]:
    lines = iter(text)
    first = next(lines, "")
    return chain((first.removeprefix(BOM),), lines)


def _is_position(column: str) -> bool:
    return column.isascii() and column.isdigit()


def _position(column: str, header: Sequence[str]) -> int:
    """The index of a column that is given by a name of the header, or else by its position."""
    names = [name.strip() for name in header]
    if column in names:
        return names.index(column)
    if _is_position(column) and int(column) > 0:
        return int(column) - 1
    known = f"the header has {', '.join(map(repr, names))}" if names else "there is no header"
    raise InvalidRequest(f"There is no column '{column}': {known}.")


def _cell(row: Sequence[str], at: int, number: int, what: str) -> str:
    if at >= len(row):
        raise InvalidRequest(
            f"Row {number} has {len(row)} columns, but the {what} should be in column {at + 1}."
        )
    if not row[at].strip():
        raise InvalidRequest(f"Row {number} has no {what} in column {at + 1}.")
    return row[at]


def _note_id(custom_id: str, number: int, seen: dict[str, int]) -> None:
    first = seen.setdefault(custom_id, number)
    if first != number:
        raise InvalidRequest(
            f"Row {number} has the same id as row {first}: '{custom_id[:64]}'. "
            "Every row needs an id of its own."
        )


# --- Results to CSV ---


def results_to_rows(lines: Iterable[bytes]) -> Iterator[tuple[str, ...]]:
    """One row of COLUMNS for each line of output and error files; raises InvalidRequest."""
    for number, line in enumerate(lines, start=1):
        data = line.removeprefix(BOM.encode())
        if data and not data.isspace():
            yield _result_row(_read_result(data, number))


def rows_to_csv(rows: Iterable[Sequence[str]], *, bom: bool = True) -> Iterator[str]:
    """A CSV in pieces, COLUMNS first; spreadsheets know by the BOM that it is UTF-8."""
    writer = csv.writer(_Echo())
    if bom:
        yield BOM
    for row in chain((COLUMNS,), rows):
        piece: str = writer.writerow(row)  # what _Echo.write returns
        yield piece


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text


def _read_result(data: bytes, number: int) -> dict[str, Any]:
    try:
        return decode(_RESULT, data)
    except UNREADABLE:
        raise InvalidRequest(
            f"Line {number} is not a JSON object; is this an output or error file of a batch?"
        ) from None


def _result_row(result: dict[str, Any]) -> tuple[str, ...]:
    response = _object(result.get("response"))
    body = response.get("body")
    code, message = _error_of(result, body)
    members = _object(body)
    cells = (
        result.get("custom_id"),
        members.get("model"),
        response.get("request_id"),
        response.get("status_code"),
        code,
        message,
        members.get("created", members.get("created_at")),
        _content(members),
        members.get("usage"),
    )
    return tuple(_text(cell) for cell in cells)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    """A cell: text as it is, nothing as nothing, all else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _error_of(result: dict[str, Any], body: object) -> tuple[object, object]:
    """Code and message, of the line itself or of the answer that it carries."""
    error = result.get("error") or _object(body).get("error")
    if isinstance(error, dict):
        return error.get("code") or error.get("type"), error.get("message")
    if error is not None:
        return None, error
    status = _object(result.get("response")).get("status_code", 200)
    if status == 200 or body is None:
        return None, None
    # Servers that do not speak OpenAI's error shape put it flat, or under other names.
    members = _object(body)
    message = members.get("message", members.get("detail"))
    return members.get("code"), body if message is None else message


def _content(body: dict[str, Any]) -> object:
    """What was answered, whatever the endpoint; several answers as a JSON array."""
    if "choices" in body:
        return _one_or_all([_choice(choice) for choice in _list(body["choices"])])
    if "output" in body:
        return _response_text(body["output"])
    if "data" in body:
        items = _list(body["data"])
        return _one_or_all([_object(item).get("embedding", item) for item in items])
    return body.get("results")


def _one_or_all(items: list[Any]) -> object:
    if not items:
        return None
    return items[0] if len(items) == 1 else items


def _choice(choice: object) -> object:
    """The text of a choice; without one, what the model refused or which tools it called."""
    members = _object(choice)
    if "text" in members:
        return members["text"]
    message = _object(members.get("message"))
    content = message.get("content")
    if isinstance(content, list):
        return _joined(content)
    return content or message.get("refusal") or message.get("tool_calls") or content


def _response_text(output: object) -> object:
    """The text of a response of ``/v1/responses``; without one, its output items."""
    if not isinstance(output, list):
        return output
    messages = [_object(item) for item in output if _object(item).get("type") == "message"]
    parts = [part for message in messages for part in _list(message.get("content"))]
    return _joined(parts) if parts else output


def _joined(parts: list[Any]) -> str:
    """The texts of content parts, one after the other."""
    members = [_object(part) for part in parts]
    texts = [part.get("text") or part.get("refusal") for part in members]
    return "".join(text for text in texts if isinstance(text, str))


# --- The generator ---


@dataclass(frozen=True, slots=True)
class GenerateRules:
    """What the generated requests ask for.

    ``thinking`` None leaves the mode to the model. ``thinking_budget`` None is
    the model's usual one. ``system`` is left out for models that take none.
    """

    model: str = DEFAULT_MODEL
    endpoint: str = CHAT
    thinking: bool | None = None
    thinking_budget: int | None = None
    system: str | None = DEFAULT_SYSTEM


def generate_text(prompts: Iterable[str], rules: GenerateRules) -> Iterator[bytes]:
    """A chat request for each line of text, ``request-1`` and on; blank ones are skipped."""
    for number, prompt in enumerate(_filled(prompts), start=1):
        yield _chat_line(number, prompt, rules)


def generate_media(
    media: Iterable[str], questions: Iterable[str], rules: GenerateRules
) -> Iterator[bytes]:
    """A chat request for each line of media URLs, several of them set apart by commas.

    Line by line each has its question, or all have the one that there is.
    Raises InvalidRequest where the lines do not pair, and for a URL that no
    model server can fetch.
    """
    asked, shown = list(_filled(questions)), list(_filled(media))
    if len(asked) not in {1, len(shown)}:
        raise InvalidRequest(
            f"There are {len(shown)} lines of media and {len(asked)} questions; "
            "give one question a line, or one for all."
        )
    pairs = zip(shown, asked if len(asked) == len(shown) else repeat(asked[0]), strict=False)
    for number, (urls, question) in enumerate(pairs, start=1):
        parts = [_media_part(url, number) for url in _SEPARATOR.split(urls)]
        yield _chat_line(number, [*parts, {"type": "text", "text": question}], rules)


def generate_embeddings(
    texts: Iterable[str], model: str = DEFAULT_EMBEDDING_MODEL
) -> Iterator[bytes]:
    """An embedding request for each line of text, ``emb-1`` and on; blank ones are skipped."""
    for number, text in enumerate(_filled(texts), start=1):
        yield request_line(f"emb-{number}", EMBEDDINGS, _body(EMBEDDINGS, model, text, None))


_SCHEMES: Final = ("http", "https", "oss", "data")
# A comma within a URL is part of it; only one with another URL behind it sets two apart.
_SEPARATOR: Final = re.compile(r"\s*,\s*(?=(?:https?|oss|data):)")
_VIDEO: Final = frozenset({"mp4", "mov", "avi", "mkv", "webm", "flv", "wmv", "m4v"})
_AUDIO: Final = frozenset({"mp3", "wav", "m4a", "aac", "flac", "ogg", "opus", "amr"})


def _filled(lines: Iterable[str]) -> Iterator[str]:
    stripped = (line.strip() for line in _without_bom(lines))
    return (line for line in stripped if line)


def _chat_line(number: int, content: str | list[dict[str, Any]], rules: GenerateRules) -> bytes:
    system = None if rules.model.startswith("qwen3-vl") else rules.system
    body: dict[str, Any] = {"model": rules.model, "messages": _messages(content, system)}
    if rules.thinking:
        budget = rules.thinking_budget or _thinking_budget(rules.model)
        body |= {"enable_thinking": True, "thinking_budget": budget, "stream": True}
    elif rules.thinking is not None:
        body["enable_thinking"] = False
    return request_line(f"request-{number}", rules.endpoint, body)


def _thinking_budget(model: str) -> int:
    """The vendor's own numbers: enough to see the mode work, not more."""
    return 500 if model.startswith(("qwen3-vl-plus", "qwen3-vl-flash")) else 50


def _media_part(url: str, number: int) -> dict[str, Any]:
    """The content part of a URL."""
    scheme, _, path, _, _ = urlsplit(url)
    if scheme not in _SCHEMES:
        raise InvalidRequest(
            f"Line {number} of the media has '{url[:64]}', which is not a URL; "
            "the model server must be able to fetch it."
        )
    family, kind = _inline_type(path) if scheme == "data" else _linked_type(path)
    if family == "video":
        return {"type": "video_url", "video_url": {"url": url}}
    if family == "audio":
        return {"type": "input_audio", "input_audio": {"data": url, "format": kind}}
    return {"type": "image_url", "image_url": {"url": url}}


def _inline_type(path: str) -> tuple[str, str]:
    """Family and kind of ``image/png;base64,…``."""
    family, _, kind = path.partition(";")[0].lower().partition("/")
    return family, "mp3" if kind == "mpeg" else kind


def _linked_type(path: str) -> tuple[str, str]:
    """Family and kind by the end of the path; what is not known is taken for an image."""
    kind = path.rpartition(".")[2].lower()
    if kind in _VIDEO:
        return "video", kind
    return "audio" if kind in _AUDIO else "image", kind
