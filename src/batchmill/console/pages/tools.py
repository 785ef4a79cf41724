"""The tools: a table to requests, results to a table, and the generator of requests.

What is made of what is decided below; here the address is read, and what was
made is handed out. What a request says (system message, more members of its
body) travels in headers: addresses are written into logs on the way.
"""

import codecs
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute

from batchmill.console.entry import action, page
from batchmill.console.transfer.download import DOWNLOAD_HEADERS
from batchmill.console.transfer.upload import SYSTEM_HEADER, read_rules
from batchmill.console.transfer.workshop import Delivery, Product, make, receiving
from batchmill.console.visit import Visit
from batchmill.domain import convert
from batchmill.domain.catalog import TEST_MODEL
from batchmill.domain.errors import InvalidRequest
from batchmill.domain.limits import Limits
from batchmill.door.access import Access
from batchmill.door.content import JSONL, attachment
from batchmill.service.conversions import MEDIA_BYTES, Conversions, Part, Tally
from batchmill.service.refusals import invalid_value
from batchmill.service.services import Services
from batchmill.service.streams import closing
from batchmill.service.tables import Tables

BODY_HEADER: Final = "x-table-body"
COUNT_HEADER: Final = "x-count"
ENDPOINTS: Final = (
    convert.CHAT,
    convert.EMBEDDINGS,
    "/v1/completions",
    "/v1/responses",
    "/v1/moderations",
)
ENCODINGS: Final[Mapping[str, str]] = {
    "utf-8": "UTF-8",
    "utf-16": "UTF-16",
    "gbk": "GBK",
    "shift_jis": "Shift JIS",
    "cp1252": "Windows-1252",
}
_CSV: Final = "text/csv; charset=utf-8"
_KINDS: Final = ("text", "media", "embedding")
_THINKING: Final[Mapping[str, bool | None]] = {"": None, "on": True, "off": False}
_MOST_PARTS: Final = 20


class ToolsPages:
    """A page for each tool, and the making. ``scratch`` is where what is made lies meanwhile."""

    def __init__(self, services: Services, *, limits: Limits, scratch: Path | None) -> None:
        self._models = services.models
        self._limits = limits
        self._scratch = scratch
        self._tables = Tables(limits)
        self._conversions = Conversions(limits)

    def routes(self) -> Sequence[BaseRoute]:
        """The pages and actions, below the console's base."""
        table, results, generate = "/tools/csv-to-jsonl", "/tools/results-to-csv", "/tools/generate"
        return [
            page("/tools", self.table),
            page(table, self.table),
            page(results, self.results),
            page(generate, self.generator),
            action(table, self.make_requests, Access.READ),
            action(results, self.make_table, Access.READ),
            action(generate, self.generate, Access.READ),
        ]

    # --- pages ---

    async def table(self, visit: Visit) -> Response:
        """The page that turns a table into requests."""
        return self._show(visit, "csv-to-jsonl", endpoints=ENDPOINTS, encodings=ENCODINGS)

    async def results(self, visit: Visit) -> Response:
        """The page that turns results into a table."""
        return self._show(visit, "results-to-csv")

    async def generator(self, visit: Visit) -> Response:
        """The page that makes requests of prompts."""
        return self._show(visit, "generate", media_bytes=MEDIA_BYTES)

    def _show(self, visit: Visit, tool: str, **more: Any) -> Response:
        # the test model answers every prompt with the same words: it is nobody's first choice
        listed = (model.id for model in self._models.list(visit.caller))
        models = sorted(listed, key=lambda name: name == TEST_MODEL)
        return visit.show(
            "tools.html",
            tool=tool,
            models=models,
            model=models[0] if models else convert.DEFAULT_MODEL,
            system=convert.DEFAULT_SYSTEM,
            max_bytes=self._limits.max_file_bytes,
            **more,
        )

    # --- actions ---

    async def make_requests(self, visit: Visit) -> Response:
        """Requests of the table that is sent."""
        rules = replace(read_rules(visit), extra=read_members(visit))
        encoding = read_encoding(visit)
        async with (
            receiving(visit, self._limits.max_file_bytes) as body,
            closing(recoded(body, encoding)) as text,
        ):
            product = await self._make(self._tables.requests(text, rules))
        return deliver(visit, product, product.lines, JSONL)

    async def make_table(self, visit: Visit) -> Response:
        """A table of the results that are sent."""
        parts = read_parts(visit)
        tally = Tally()
        async with receiving(visit, self._limits.max_file_bytes) as body:
            bom = visit.value("bom") == "1"
            pieces = self._conversions.results_table(body, parts, tally, bom=bom)
            product = await self._make(pieces)
        return deliver(visit, product, tally.count, _CSV)

    async def generate(self, visit: Visit) -> Response:
        """Requests of the prompts that are sent."""
        kind = visit.value("kind", "text")
        if kind not in _KINDS:
            raise invalid_value(kind, _KINDS, "kind")
        rules = read_generate_rules(visit)
        media = sum(part.size for part in read_parts(visit)[:1]) if kind == "media" else 0
        async with receiving(visit, self._limits.max_file_bytes) as body:
            if kind == "embedding":
                requests = self._conversions.embedding_requests(body, rules.model)
            elif kind == "media":
                requests = self._conversions.media_requests(body, media, rules)
            else:
                requests = self._conversions.text_requests(body, rules)
            product = await self._make(requests)
        return deliver(visit, product, product.lines, JSONL)

    async def _make(self, blocks: AsyncIterator[bytes]) -> Product:
        return await make(blocks, self._scratch, self._limits.max_file_bytes)


def deliver(visit: Visit, product: Product, count: int, media_type: str) -> Response:
    """What was made, under the name of what it was made of."""
    ending = ".csv" if media_type == _CSV else ".jsonl"
    stem = PurePath(visit.value("filename")).stem or "requests"
    headers = {
        **DOWNLOAD_HEADERS,
        "cache-control": "no-store",
        "content-type": media_type,
        "content-disposition": attachment(stem + ending, "requests" + ending),
        COUNT_HEADER: str(count),
    }
    return Delivery(product, headers)


def read_members(visit: Visit) -> Mapping[str, Any]:
    """What every body gets besides; raises InvalidRequest."""
    text = unquote(visit.request.headers.get(BODY_HEADER, "")).strip()
    try:
        return msgspec.json.decode(text, type=dict[str, Any]) if text else {}
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest(
            'More members are given as a JSON object, such as {"max_tokens": 100}.'
        ) from None


def read_encoding(visit: Visit) -> str:
    """The encoding of the table; raises InvalidRequest."""
    encoding = visit.value("encoding", "utf-8")
    if encoding not in ENCODINGS:
        raise invalid_value(encoding, list(ENCODINGS), "encoding")
    return encoding


def read_parts(visit: Visit) -> Sequence[Part]:
    """The files that the body holds end to end; raises InvalidRequest."""
    names = visit.request.query_params.getlist("name")
    sizes = visit.request.query_params.getlist("size")
    are_sizes = all(size.isascii() and size.isdigit() and len(size) < 16 for size in sizes)
    if len(names) != len(sizes) or not 0 < len(sizes) <= _MOST_PARTS or not are_sizes:
        raise InvalidRequest(f"Send 1 to {_MOST_PARTS} files, each with its name and its size.")
    return [Part(name[:200], int(size)) for name, size in zip(names, sizes, strict=True)]


def read_generate_rules(visit: Visit) -> convert.GenerateRules:
    """How the address wants requests made; raises InvalidRequest."""
    model, thinking = visit.value("model"), visit.value("thinking")
    if not model:
        raise InvalidRequest("Name the model that the requests are sent to.", param="model")
    if thinking not in _THINKING:
        raise invalid_value(thinking, [name for name in _THINKING if name], "thinking")
    return convert.GenerateRules(
        model=model,
        thinking=_THINKING[thinking],
        thinking_budget=_read_budget(visit.value("thinking_budget")),
        system=unquote(visit.request.headers.get(SYSTEM_HEADER, "")) or None,
    )


def _read_budget(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        message = "The thinking budget is a number of tokens above zero."
        raise InvalidRequest(message, param="thinking_budget")
    return int(text)


async def recoded(chunks: AsyncIterator[bytes], encoding: str) -> AsyncGenerator[bytes]:
    """The text in UTF-8; raises InvalidRequest for what is not valid in its encoding."""
    if encoding == "utf-8":
        async for chunk in chunks:
            yield chunk
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        async for chunk in chunks:
            if text := decoder.decode(chunk):
                yield text.encode()
        decoder.decode(b"", final=True)
    except UnicodeError:  # a UTF-16 text without its mark is no decode error
        name = ENCODINGS[encoding]
        raise InvalidRequest(f"The table is not valid {name}. Choose its encoding.") from None
