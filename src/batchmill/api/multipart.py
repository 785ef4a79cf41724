"""Multipart forms: one file, streamed on as it comes, and a few short fields.

Fields and file may come in any order and without a length. Neither the form
nor the file is ever held whole; unknown fields are read over.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header
from starlette.requests import Request

from batchmill.domain.errors import InvalidRequest, TooLarge
from batchmill.door.bodies import Patience, announced_bytes, stream_body
from batchmill.service.refusals import missing_parameter

# Not more than the pieces in which a fast client's body comes: so each is a block as it is.
BLOCK_BYTES: Final = 512 * 1024
MAX_FIELD_BYTES: Final = 4096
MAX_PARTS: Final = 100
# boundaries, part headers and small fields around the file
OVERHEAD_BYTES: Final = 1024 * 1024


class Sink(Protocol):
    """Takes the file's bytes."""

    async def write(self, block: bytes) -> None:
        """Take the next bytes; what it raises ends the form."""
        ...


@dataclass(frozen=True, slots=True)
class FormRule:
    """What a form may hold. ``check`` sees each field as it ends and may refuse the form early."""

    file_field: str
    fields: Collection[str]
    max_file_bytes: int
    too_large: Callable[[], TooLarge]
    check: Callable[[str, str], None] = lambda _name, _value: None


@dataclass(slots=True)
class Form:
    """The fields of a form, and its file's name; the file itself has gone to the sink."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None


async def receive_form(request: Request, rule: FormRule, sink: Sink, patience: Patience) -> Form:
    """Read a form to its end; raises Refused of many kinds, and what the sink raises."""
    boundary = _boundary(request.headers.get("content-type", ""))
    announced_size(request, rule)
    reader = _Reader(rule)
    try:
        parser = MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type]
        async for chunk in stream_body(request, patience):
            if reader.is_in_file and _is_content(parser, chunk):
                reader.keep(chunk)
            else:
                parser.write(chunk)
            reader.note(len(chunk))
            if reader.pending >= BLOCK_BYTES:
                await sink.write(reader.take())
    except FormParserError:
        raise InvalidRequest("The multipart form cannot be read: it is malformed.") from None
    if reader.pending:
        await sink.write(reader.take())
    return reader.finish()


def announced_size(request: Request, rule: FormRule) -> int | None:
    """How many bytes the body has, None where nobody knows.

    What cannot fit is refused before a byte of it is read: raises TooLarge.
    """
    size = announced_bytes(request)
    if size is not None and size > rule.max_file_bytes + OVERHEAD_BYTES:
        raise rule.too_large()
    return size


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        message = "The request must be multipart/form-data, and its content-type name a boundary."
        raise InvalidRequest(message, code="invalid_content_type")
    return boundary


def _is_content(parser: MultipartParser, chunk: bytes) -> bool:
    """Whether all of ``chunk`` belongs to the part that is read: no boundary can begin in it.

    A boundary begins with a carriage return. To look for one byte costs a tenth of what the
    parser's search for the boundary does, and most files have none.
    """
    is_between = parser.state == MultipartState.PART_DATA and parser.index == 0
    return is_between and b"\r" not in chunk


class _Reader:
    """Follows the parser: collects fields, gathers the file's bytes for the sink.

    ``pending`` is how many bytes are gathered, ``is_in_file`` whether the part that is read is
    the file's.
    """

    def __init__(self, rule: FormRule) -> None:
        self._rule = rule
        self._form = Form()
        self._room = rule.max_file_bytes + OVERHEAD_BYTES
        self._parts = 0
        self._header = [b"", b""]
        self._disposition = ""
        self._name: str | None = None
        self._value: list[bytes] | None = None
        self.is_in_file = False
        self._is_whole = False
        self._blocks: list[bytes] = []
        self.pending = 0

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def note(self, size: int) -> None:
        """Count the body, so that endless unknown fields come to an end."""
        self._room -= size
        if self._room < 0:
            raise self._rule.too_large()

    def keep(self, piece: bytes) -> None:
        """Gather the next bytes of the file."""
        self._blocks.append(piece)
        self.pending += len(piece)

    def take(self) -> bytes:
        """The gathered bytes of the file."""
        block = self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks)
        self._blocks.clear()
        self.pending = 0
        return block

    def finish(self) -> Form:
        """The form; raises InvalidRequest where it was cut off or lacks its file."""
        if not self._is_whole:
            message = "The multipart form ends before its closing boundary: send it again."
            raise InvalidRequest(message, code="truncated_body")
        if self._form.filename is None:
            raise missing_parameter(self._rule.file_field)
        return self._form

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise InvalidRequest(f"The multipart form has more than {MAX_PARTS} parts.")
        self._header = [b"", b""]
        self._disposition = ""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _on_header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = value.decode("latin-1")
        self._header = [b"", b""]

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = _filename(self._disposition, options)
        self.is_in_file = name == self._rule.file_field
        if self.is_in_file:
            self._begin_file(filename)
        elif name in self._rule.fields:
            self._name, self._value = name, []
        else:
            self._name = self._value = None

    def _begin_file(self, filename: str | None) -> None:
        param = self._rule.file_field
        if filename is None:
            message = f"Invalid type for '{param}': expected a file, but got a string instead."
            raise InvalidRequest(message, param=param, code="invalid_type")
        if self._form.filename is not None:
            raise InvalidRequest(f"The form holds more than one '{param}'.", param=param)
        self._form.filename = filename

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self.is_in_file and self._value is None:
            return
        piece = data if start == 0 and end == len(data) else data[start:end]
        if self.is_in_file:
            self.keep(piece)
        elif self._value is not None:
            self._value.append(piece)
            if sum(map(len, self._value)) > MAX_FIELD_BYTES:
                message = f"Invalid '{self._name}': longer than {MAX_FIELD_BYTES} bytes."
                raise InvalidRequest(message, param=self._name)

    def _on_part_end(self) -> None:
        if self._name is not None and self._value is not None and not self.is_in_file:
            try:
                value = b"".join(self._value).decode()
            except UnicodeDecodeError:
                message = f"Invalid '{self._name}': it is not UTF-8."
                raise InvalidRequest(message, param=self._name) from None
            self._rule.check(self._name, value)
            self._form.fields[self._name] = value
        self._name = self._value = None
        self.is_in_file = False

    def _on_end(self) -> None:
        self._is_whole = True


def _filename(disposition: str, options: dict[bytes, bytes]) -> str | None:
    """The name that a part's header gives its file, None for a field.

    The extended form is not meant for forms, but old clients send it alone for
    names beyond ASCII.
    """
    plain = options.get(b"filename")
    if plain is not None:
        return plain.decode("utf-8", "replace")
    _, found, extended = disposition.partition("filename*=")
    if not found:
        return None
    return unquote(extended.partition(";")[0].strip('" ').rpartition("'")[2], errors="replace")
