"""Bytes in, Lines and LineErrors out; whole-file checks; what the worker reads of a line.

Everything streams: no more than one line is held, and how the bytes were cut
makes no difference. What the validation lets through, ``parse_request`` reads
in the same way; the sentences of the faults live in ``faults``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from batchmill.domain import envelope as env
from batchmill.domain import faults
from batchmill.domain.batch import LineError
from batchmill.domain.catalog import ENDPOINTS, TEST_ENDPOINT, TEST_MODEL, Catalog
from batchmill.domain.limits import Limits, Profile

# No byte above it is blank.
_SPACE: Final = ord(" ")
BOM: Final = b"\xef\xbb\xbf"
CHAT: Final = "/v1/chat/completions"
EMBEDDINGS: Final = "/v1/embeddings"

# A body must hold one of these. The others are the model server's business.
_MESSAGES: Final = ("messages",)
_CONTENT: Final = {
    CHAT: _MESSAGES,
    TEST_ENDPOINT: _MESSAGES,
    EMBEDDINGS: ("input",),
    "/v1/moderations": ("input",),
    "/v1/completions": ("prompt",),
    "/v1/responses": ("input", "prompt"),
}


# The token of ``enable_thinking`` where a request does not say; what is decoded of each token.
_UNSAID: Final = b"null"
_MODES: Final = {_UNSAID: (UNSET, None), b"true": (True,), b"false": (False,)}
_OPEN: Final = ord("{")
_CLOSE: Final = ord("}")
# Where lines are not all usual, half of them may be; so few are checked each by itself.
_FEW_BYTES: Final = 16 * 1024
# What is decoded in one go stays in the processor's cache until it has been looked at.
_BLOCK_BYTES: Final = 512 * 1024


class Line(Struct, frozen=True, gc=False):  # a Struct for the same reason as RawLine
    """One acceptable request of the input: its number from 1 and its bytes ``[start, end)``.

    The number counts every line of the file, blank ones too; ``end`` lies
    behind the newline.
    """

    number: int
    start: int
    end: int
    custom_id: str
    model: str


class Stretch(Struct, frozen=True, gc=False):
    """Acceptable requests on lines that follow one another, as Lines but without one for each.

    ``number`` and ``start`` are the first one's, ``ends`` and ``models`` each one's.
    """

    number: int
    start: int
    ends: list[int]
    models: list[str]


class RawLine(Struct, frozen=True, gc=False):  # a Struct: made once a line, at a third of the cost
    """A line that is not blank: its number from 1, its span in the file, its bytes.

    ``data`` is without the line's end (and the file's BOM), and None where it
    is longer than a line may be.
    """

    number: int
    start: int
    end: int
    data: bytes | None


class Block(Struct, frozen=True, gc=False):
    """Whole lines, blank ones among them, as they came: ``data[at:end]``.

    ``number`` is that of the first, ``start`` where it begins in the file.
    """

    number: int
    start: int
    data: bytes
    at: int
    end: int


class LineCutter:
    """Cuts a stream of bytes into lines, blank ones left out but counted.

    ``max_line_bytes`` is measured without the line's end. To read on from the
    middle of a file, give the offset of a line and its number. Never holds
    more than one line and the chunk.
    """

    def __init__(self, max_line_bytes: int, *, start: int = 0, first_line: int = 1) -> None:
        self._max = max_line_bytes
        self._held_max = max_line_bytes + len(BOM) + len(b"\r")
        self._number = first_line
        self._start = start
        self._held = bytearray()
        self._held_bytes = 0
        self._chunk, self._at, self._end = b"", 0, 0

    def feed(self, chunk: bytes) -> list[RawLine]:
        """The lines that end in ``chunk``."""
        found = self.begin(chunk)
        found.extend(self.lines(self.block(len(chunk))))
        return found

    @property
    def offset(self) -> int:
        """Where in the file the next chunk begins, once all lines are taken."""
        return self._start + self._held_bytes

    @property
    def is_within_line(self) -> bool:
        """Whether the next chunk goes on with a line that is held."""
        return self._held_bytes > 0

    def begin(self, chunk: bytes, *, leave: int = 0) -> list[RawLine]:
        """Take ``chunk`` in; the line that began before it, where that ends in it.

        The other lines that end in it are asked for next: a ``block`` and what is in it, until
        none is left. What the chunk has of a line that goes on behind it is not kept where it is at
        most ``leave`` bytes, unless it is all of it: ``offset`` is then where that line begins.
        """
        whole, at, ended = chunk.rfind(b"\n") + 1, 0, list[RawLine]()
        if whole and (self._held_bytes or self._start == 0):
            at = chunk.find(b"\n") + 1
            self._hold(chunk[: at - 1])
            ended.extend(self._end_held(newline=1))
        self._chunk, self._at, self._end = chunk, at, whole
        if not whole or len(chunk) - whole > leave:
            self._hold(chunk[whole:])
        return ended

    def block(self, most: int) -> Block:
        """The next lines of the chunk, one at least and else not above ``most`` bytes.

        Take them with ``lines`` or ``skip``. How long they are is not looked at.
        """
        data, at, end = self._chunk, self._at, self._end
        if end - at > most:
            end = data.rfind(b"\n", at, at + most) + 1 or data.find(b"\n", at + most) + 1
        return Block(self._number, self._start, data, at, end)

    def skip(self, block: Block, lines: int) -> None:
        """Take a block uncut: whoever asks has seen that it is ``lines`` lines."""
        self._number += lines
        self._start += block.end - block.at
        self._leave(block)

    def lines(self, block: Block) -> Iterator[RawLine]:
        """Take a block line by line, to the last."""
        self._leave(block)
        # Of all ways to cut bytes at newlines the one that looks for them fastest, in every length.
        pieces = BytesIO(block.data)
        pieces.seek(block.at)
        return self._cut_whole(pieces, block.end - block.at)

    def _leave(self, block: Block) -> None:
        self._at = block.end
        if self._at == self._end:  # a chunk is not kept while the next one is read
            self._chunk, self._at, self._end = b"", 0, 0

    def finish(self) -> list[RawLine]:
        """The last line, where the stream ended without a newline."""
        return list(self._end_held(newline=0)) if self._held_bytes else []

    def _hold(self, piece: bytes) -> None:
        """Keep the beginning of a line, or only its length once it is too long."""
        self._held_bytes += len(piece)
        if self._held_bytes > self._held_max:
            self._held.clear()
        else:
            self._held += piece

    def _end_held(self, newline: int) -> Iterator[RawLine]:
        """The line that is held; the first of a file is, so that its BOM is seen."""
        start, data = self._start, bytes(self._held)
        end = start + self._held_bytes + newline
        if start == 0 and data.startswith(BOM):
            start, data = len(BOM), data[len(BOM) :]
        data = data.removesuffix(b"\r")
        if self._held_bytes > self._held_max or len(data) > self._max:
            yield RawLine(self._number, self._start, end, None)
        elif data and not data.isspace():
            yield RawLine(self._number, start, end, data)
        self._number, self._start = self._number + 1, end
        self._held.clear()
        self._held_bytes = 0

    def _cut_whole(self, pieces: BytesIO, whole: int) -> Iterator[RawLine]:
        """The lines in the next ``whole`` bytes: the hot loop, hence the local names."""
        number, start, limit = self._number, self._start, self._max
        stop = start + whole
        for piece in pieces:
            end = start + len(piece)
            if end > stop:
                break
            data = piece[:-1]
            if not data or data[-1] <= _SPACE:
                data = data.removesuffix(b"\r")
                data = b"" if len(data) <= limit and data.isspace() else data
            if len(data) > limit:
                yield RawLine(number, start, end, None)
            elif data:
                yield RawLine(number, start, end, data)
            number += 1
            start = end
        self._number, self._start = number, start


@dataclass(frozen=True, slots=True)
class LineRules:
    """What the lines of a file are measured against."""

    endpoint: str
    catalog: Catalog
    profile: Profile
    limits: Limits
    mixed_models: bool = False


class _Bad(Exception):
    """The line at hand has a fault."""

    def __init__(self, error: LineError) -> None:
        super().__init__(error.code)
        self.error = error


class FileCheck:
    """Checks the lines of one file, in order, each with the first fault that it has.

    Holds the custom_ids and the first ``max_errors`` faults, and no line.
    ``file_bytes`` is the size of the file; without it, where the last line ended.
    """

    def __init__(self, rules: LineRules, *, file_bytes: int | None = None) -> None:
        self._file_bytes = file_bytes
        self._rules = rules
        limits, is_test = rules.limits, rules.endpoint == TEST_ENDPOINT
        self._max_lines = limits.test_model_max_lines if is_test else limits.max_lines
        self._max_bytes = limits.test_model_max_file_bytes if is_test else limits.max_file_bytes
        self._counts_inputs = rules.profile is Profile.OPENAI and rules.endpoint == EMBEDDINGS
        self._content = _CONTENT.get(rules.endpoint, ())
        self._max_id = limits.max_custom_id_chars
        self._lines = 0
        self._bytes = 0
        self._inputs = 0
        self._faults = 0
        self._errors: list[LineError] = []
        self._custom_ids: set[str] = set()
        self._models: dict[str, None] = {}
        self._model: str | None = None
        self._thinking: bytes | None = None
        self._modes: tuple[bool | UnsetType | None, ...] = ()
        self._may_stream = rules.profile is not Profile.OPENAI

    @property
    def lines(self) -> int:
        """How many requests there were, good and bad."""
        return self._lines

    @property
    def faults(self) -> int:
        """How many of them are bad."""
        return self._faults

    @property
    def errors(self) -> tuple[LineError, ...]:
        """The faults of single lines found so far, at most ``max_errors``."""
        return tuple(self._errors)

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the good lines, in the order in which they appeared."""
        return tuple(self._models)

    @property
    def is_overfull(self) -> bool:
        """Whether there are more requests than a file may have: reading on is of no use."""
        return self._lines > self._max_lines

    def check(self, raw: RawLine) -> Line | None:
        """The Line that ``raw`` is, or None where it has a fault.

        Once the file is overfull nothing more is looked at.
        """
        if self.is_overfull:
            return None
        self._lines += 1
        self._bytes = raw.end
        try:
            return None if self.is_overfull else self._accept(raw)
        except _Bad as bad:
            self._faults += 1
            if len(self._errors) < self._rules.limits.max_errors:
                self._errors.append(bad.error)
            return None

    def check_all(self, raws: Iterable[RawLine]) -> list[Stretch]:
        """The good ones among ``raws``, as ``check`` finds each."""
        good, follows = list[Stretch](), 0
        for raw in raws:
            if (line := self.check(raw)) is not None:
                if line.number != follows:
                    good.append(Stretch(line.number, line.start, [], []))
                good[-1].ends.append(line.end)
                good[-1].models.append(line.model)
                follows = line.number + 1
        return good

    def check_chunk(self, cutter: LineCutter, chunk: bytes, *, leave: int = 0) -> list[Stretch]:
        """The good lines that end in ``chunk``, as ``check`` finds each; the way for whole files.

        For ``leave`` see ``LineCutter.begin``.
        """
        good = self.check_all(cutter.begin(chunk, leave=leave))
        most, is_ascii = _BLOCK_BYTES, chunk.isascii()
        while (block := cutter.block(most)).data:
            if most <= _FEW_BYTES or self._content is not _MESSAGES:
                good.extend(self.check_all(cutter.lines(block)))
                most *= 2
            elif (usual := self._skim(block, is_ascii=is_ascii)) is not None:
                cutter.skip(block, len(usual.ends))
                good.append(usual)
            else:
                most = max(min(most, block.end - block.at) // 2, _FEW_BYTES)
        return good

    def _skim(self, block: Block, *, is_ascii: bool) -> Stretch | None:
        """The lines of a block of good requests that ask for what one before them asked for.

        None for every other block. The hot loop, hence the local names. All values are decoded
        in one go, which takes a newline for any blank: so a value could span lines, and a line
        hold several. But no value goes on with an opening brace on a new line after a closing
        one. So where each line begins and ends with a brace, and there are as many values as
        lines, each line is a value.
        """
        data, at, offset = block.data, block.at, block.start - block.at
        ids, models, modes, url = self._custom_ids, self._models, self._modes, self._rules.endpoint
        find, max_id, ends, asked = data.find, self._max_id, list[int](), list[str]()
        found = self._decode(block, is_ascii=is_ascii)
        for chat in found:
            end, id_, body = find(b"\n", at) + 1, chat.custom_id, chat.body
            model = body.model
            if not (
                end
                and data[at] == _OPEN
                and (data[end - 2] == _CLOSE or data[end - 3 : end - 1] == b"}\r")
                and model in models
                and chat.url == url
                and body.enable_thinking in modes
                and (body.stream is not True or self._may_stream)
                and 0 < len(id_) <= max_id
                and id_ not in ids
            ):
                break
            ids.add(id_)
            ends.append(offset + end)
            asked.append(model)
            at = end
        if at != block.end or len(ends) != len(found):
            ids.difference_update(chat.custom_id for chat in found[: len(ends)])
            return None
        self._lines += len(ends)
        self._bytes = ends[-1] if ends else self._bytes
        return Stretch(block.number, block.start, ends, asked)

    def _decode(self, block: Block, *, is_ascii: bool) -> list[env.Chat]:
        """The values in a block; none where one of them, or the block, is an unusual one."""
        limits, lines = self._rules.limits, memoryview(block.data)[block.at : block.end]
        if len(lines) > limits.max_line_bytes:
            return []
        try:
            found = env.CHATS.decode_lines(lines)
            if not is_ascii:
                str(lines, "utf-8")
        except env.UNREADABLE:
            return []
        return found if self._lines + len(found) <= self._max_lines else []

    def finish(self) -> tuple[LineError, ...]:
        """Everything that is wrong: the file as a whole first, then its lines in order.

        At most ``max_errors`` lines are named; one more entry counts those left out.
        """
        size = self._bytes if self._file_bytes is None else self._file_bytes
        errors = [*self._whole_file(size), *self._errors]
        if self._faults > len(self._errors):
            errors.append(faults.too_many_errors(self._faults - len(self._errors)))
        return tuple(errors)

    def _whole_file(self, file_bytes: int) -> list[LineError]:
        errors: list[LineError] = []
        if not self._lines:
            errors.append(faults.empty_file())
        if file_bytes > self._max_bytes:
            errors.append(faults.file_too_large(self._max_bytes))
        if self.is_overfull:
            errors.append(faults.too_many_requests(self._max_lines))
        if self._inputs > self._rules.limits.max_embedding_inputs:
            errors.append(faults.too_many_inputs(self._rules.limits.max_embedding_inputs))
        return errors

    def _accept(self, raw: RawLine) -> Line:
        found, misfits = self._read(raw)
        number, is_known = raw.number, self._register(found.custom_id)
        custom_id = _required(found.custom_id, "custom_id", number, misfits)
        method = _required(found.method, "method", number, misfits)
        url = _required(found.url, "url", number, misfits)
        body = found.body
        if isinstance(body, UnsetType):
            raise _Bad(_absent("body", number, misfits, env.OBJECT))
        self._check_custom_id(custom_id, number, is_known=is_known)
        if method != "POST":
            raise _Bad(faults.invalid_method(number, method))
        self._check_url(url, number)
        model = _required(body.model, "body.model", number, misfits)
        self._check_model(model, number)
        self._check_content(body, number)
        self._check_modes(body, number)
        self._models.setdefault(model)
        return Line(number, raw.start, raw.end, custom_id, model)

    def _read(self, raw: RawLine) -> tuple[env.Envelope, env.Misfits]:
        if raw.data is None:
            raise _Bad(faults.line_too_long(raw.number, self._rules.limits.max_line_bytes))
        if not env.is_utf8(raw.data):
            raise _Bad(faults.invalid_encoding(raw.number))
        try:
            return env.read_envelope(raw.data)
        except env.UNREADABLE:
            raise _Bad(faults.invalid_json(raw.number)) from None

    def _register(self, custom_id: env.Text) -> bool:
        """Remember the custom_id, however bad its line is; whether it was known."""
        if isinstance(custom_id, UnsetType) or len(custom_id) > self._max_id:
            return False
        before = len(self._custom_ids)
        self._custom_ids.add(custom_id)
        return len(self._custom_ids) == before

    def _check_custom_id(self, custom_id: str, number: int, *, is_known: bool) -> None:
        if len(custom_id) > self._max_id:
            raise _Bad(faults.custom_id_too_long(number, self._max_id))
        if not custom_id:
            raise _Bad(faults.custom_id_empty(number))
        if is_known:
            raise _Bad(faults.duplicate_custom_id(number, custom_id))

    def _check_url(self, url: str, number: int) -> None:
        if url not in ENDPOINTS:
            raise _Bad(faults.url_not_found(number, url))
        if url != self._rules.endpoint:
            raise _Bad(faults.invalid_url(number))

    def _check_model(self, model: str, number: int) -> None:
        if model == self._model:
            return
        catalog, endpoint = self._rules.catalog, self._rules.endpoint
        if not model or not catalog.serves(model):
            raise _Bad(faults.model_not_found(number, model))
        is_test = model == TEST_MODEL
        if is_test != (endpoint == TEST_ENDPOINT):
            raise _Bad(faults.mismatched_test_url(number, endpoint, model, is_test_model=is_test))
        if not catalog.serves_on(model, endpoint):
            raise _Bad(faults.model_not_found(number, model))
        if self._model is not None and not self._rules.mixed_models:
            raise _Bad(faults.mismatched_model(number, model))
        self._model = model

    def _check_content(self, body: env.Body, number: int) -> None:
        names = self._content
        if names is _MESSAGES and isinstance(body.messages, Raw):
            if not env.begins(body.messages, b"["):
                got = env.kind_of(body.messages)
                raise _Bad(faults.wrong_type(number, "body.messages", env.ARRAY, got))
        elif names and all(getattr(body, name) is UNSET for name in names):
            raise _Bad(faults.missing(number, f"body.{names[0]}"))
        elif self._counts_inputs:
            self._inputs += _count_inputs(body.input)

    def _check_modes(self, body: env.Body, number: int) -> None:
        rules = self._rules
        if not self._may_stream and env.begins(body.stream, b"t"):
            is_chat = rules.endpoint == CHAT
            raise _Bad(faults.streaming_unsupported(number, is_chat=is_chat))
        thinking = _thinking_mode(body.enable_thinking, number)
        if self._thinking is None:
            self._thinking, self._modes = thinking, _MODES[thinking]
        elif thinking != self._thinking:
            raise _Bad(faults.mismatched_thinking_mode(number))


def _absent(param: str, number: int, misfits: env.Misfits, expected: str) -> LineError:
    """The fault of a parameter that is not there, or of another type than ``expected``."""
    if param in misfits:
        return faults.wrong_type(number, param, expected, misfits[param])
    return faults.missing(number, param)


def _required(value: env.Text, param: str, number: int, misfits: env.Misfits) -> str:
    if isinstance(value, UnsetType):
        raise _Bad(_absent(param, number, misfits, env.STRING))
    return value


def _thinking_mode(value: env.Span, number: int) -> bytes:
    """The JSON token of ``enable_thinking``; not to say is a mode too, the model's own."""
    if isinstance(value, UnsetType):
        return _UNSAID
    kind = env.kind_of(value)
    if kind not in {env.BOOLEAN, env.NULL}:
        raise _Bad(faults.wrong_type(number, "body.enable_thinking", env.BOOLEAN, kind))
    return bytes(value)


def _count_inputs(value: env.Span) -> int:
    """How many embeddings an ``input`` asks for: a text or a list of tokens is one."""
    if isinstance(value, UnsetType) or not env.begins(value, b"["):
        return 1
    items = env.read_items(bytes(value))
    is_tokens = bool(items) and env.kind_of(items[0]) == env.INTEGER
    return 1 if is_tokens else len(items)


def read_url(data: bytes) -> str | None:
    """The url that a line names, to guess the endpoint of a file; None where it has none."""
    try:
        url = env.read_envelope(data)[0].url
    except env.UNREADABLE:
        return None
    return None if isinstance(url, UnsetType) else url


# --- What the worker reads: lines that were found good when the batch was planned. ---


class LineUnreadable(Exception):
    """A line that was found good cannot be read: the stored bytes have changed."""


class Request(Struct, frozen=True, gc=False):  # a Struct for the same reason as RawLine
    """What is sent of a line: the client's own bytes.

    ``custom_id`` is the JSON string as it stands in the file, quotes and
    escapes included, to be spliced into the result; ``body`` is a JSON object,
    ``is_plain`` where it holds none of ``STREAM_KEYS``. ``thinks`` where it
    asks the model to.
    """

    custom_id: bytes
    body: bytes
    model: str
    is_plain: bool = True
    thinks: bool = False


class _Parts(Struct, gc=False):
    custom_id: Raw
    body: Raw


class _Heads(Struct, gc=False):
    model: str
    stream: env.Span = UNSET
    stream_options: env.Span = UNSET
    enable_thinking: env.Span = UNSET


STREAM_KEYS: Final = frozenset({"stream", "stream_options"})

_PARTS: Final = msgspec.json.Decoder(_Parts)
_HEADS: Final = msgspec.json.Decoder(_Heads)
_TEXT: Final = msgspec.json.Decoder(str)


def parse_request(data: bytes) -> Request:
    """Read a line that ``FileCheck`` found good; raises LineUnreadable."""
    try:
        parts = _PARTS.decode(data)
        body = bytes(parts.body)
        heads = _HEADS.decode(body)
        is_plain = heads.stream is UNSET and heads.stream_options is UNSET
        thinking = heads.enable_thinking
        thinks = thinking is not UNSET and env.begins(thinking, b"t")
        return Request(bytes(parts.custom_id), body, heads.model, is_plain, thinks)
    except msgspec.DecodeError:
        return _parse_rare(data)
    except (RecursionError, UnicodeDecodeError):
        raise LineUnreadable("the line is not a request") from None


def _parse_rare(data: bytes) -> Request:
    """Read a line with lone surrogates, or with a ``model`` of a wrong type that does not count."""
    try:
        whole = env.mended(data)
        parts = _PARTS.decode(whole)
        members = env.read_fields(bytes(parts.body))
        model = _TEXT.decode(members["model"])
        spans = [_original(data, whole, bytes(part)) for part in (parts.custom_id, parts.body)]
    except (*env.UNREADABLE, KeyError):
        raise LineUnreadable("the line is not a request") from None
    thinks = env.begins(members.get("enable_thinking", UNSET), b"t")
    return Request(spans[0], spans[1], model, STREAM_KEYS.isdisjoint(members), thinks)


def _original(data: bytes, whole: bytes, span: bytes) -> bytes:
    """The bytes of ``data`` that ``whole``, its mended twin, has as ``span``."""
    start = whole.index(span)
    return data[start : start + len(span)]


def rewrite_body(body: bytes, *, drop: frozenset[str], model: str | None) -> bytes:
    """``body`` without the top-level keys ``drop``, asking for ``model`` where one is given.

    Returns ``body`` itself where nothing changes. All other values keep their
    bytes, but for lone surrogates, which become U+FFFD. Raises LineUnreadable.
    """
    if not drop and model is None:
        return body
    try:
        # To read the keys costs less than to search the bytes for them, and misses no spelling.
        members = env.read_fields(body)
        is_same = model is None or _TEXT.decode(members["model"]) == model
    except (*env.UNREADABLE, KeyError):
        raise LineUnreadable("the body is not that of a request") from None
    if is_same and drop.isdisjoint(members):
        return body
    kept = {name: value for name, value in members.items() if name not in drop}
    if not is_same:
        kept["model"] = Raw(msgspec.json.encode(model))
    return msgspec.json.encode(kept)
