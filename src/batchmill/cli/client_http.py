"""HTTP with a Batch API: requests out, bytes in, and what went wrong as one sentence.

Nothing is printed here and nothing is tried again. Bodies that may be large
are streamed both ways, and the key never appears in what is raised.
"""

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from batchmill.cli.client_model import printable
from batchmill.cli.client_source import CHUNK_BYTES, Source, as_form
from batchmill.domain.errors import BatchmillError, InvalidRequest

Shape = TypeVar("Shape")
Params = Mapping[str, str | int]

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# A server may sync half a gigabyte to a slow disk before it answers an upload.
_TIMEOUT: Final = httpx2.Timeout(60.0, connect=10.0)
_UPLOAD_TIMEOUT: Final = httpx2.Timeout(60.0, connect=10.0, read=600.0)
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
_NO_KEY: Final = " Give a key by --key or BATCHMILL_API_KEY."


class Unreachable(BatchmillError):
    """No whole answer came; another try may bring one."""


class Declined(BatchmillError):
    """The server answered that it will not; ``is_passing`` says that it may later."""

    def __init__(self, message: str, *, status: int, is_passing: bool) -> None:
        super().__init__(message)
        self.status = status
        self.is_passing = is_passing


class Garbled(BatchmillError):
    """The answer is not one of a Batch API."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server is, and the key to it."""

    url: str
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Download:
    """Bytes on their way; ``size`` is None where the server did not tell."""

    size: int | None
    pieces: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of live results and where the next one begins."""

    body: bytes
    next_after: str | None
    has_more: bool


def decode(body: bytes, shape: type[Shape]) -> Shape:
    """Read an answer; raises Garbled."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Garbled(
            "The server's answer is not that of a Batch API: check the address in --server."
        ) from None


class Api:
    """The calls that the verbs make. All raise Unreachable and Declined."""

    def __init__(self, client: httpx2.Client, server: Server) -> None:
        self._client = client
        self._server = server

    def get(self, path: str, params: Params | None = None) -> bytes:
        """The body of a GET."""
        return self._ask("GET", path, params=params)

    def post(
        self, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """The body of the answer to a POST, of JSON where there is a ``body``."""
        content = None if body is None else msgspec.json.encode(body)
        json = {"content-type": "application/json"} if content else {}
        return self._ask("POST", path, content=content, headers={**json, **(headers or {})})

    def delete(self, path: str) -> bytes:
        """The body of the answer to a DELETE."""
        return self._ask("DELETE", path)

    def upload(self, source: Source, on_sent: Callable[[int], None]) -> bytes:
        """Upload an input file, a block at a time; ``on_sent`` hears the size of each."""
        form = as_form(source, on_sent)
        return self._ask(
            "POST", "/files", content=form.blocks, headers=form.headers, timeout=_UPLOAD_TIMEOUT
        )

    @contextmanager
    def download(self, path: str) -> Iterator[Download]:
        """The body of a GET, piece by piece."""
        with self._words(), self._client.stream("GET", path) as response:
            if not response.is_success:
                response.read()
            self._check(response)
            yield Download(_size(response), response.iter_bytes(CHUNK_BYTES))

    def page(self, path: str, params: Params) -> Page:
        """A page of live results."""
        with self._words():
            response = self._client.get(path, params=dict(params))
            self._check(response)
        has_more = response.headers.get("x-has-more") == "true"
        return Page(response.content, response.headers.get("x-next-after"), has_more)

    def _ask(self, method: str, path: str, **more: Any) -> bytes:
        with self._words():
            response = self._client.request(method, path, **more)
            self._check(response)
            return response.content

    def _check(self, response: httpx2.Response) -> None:
        if response.is_success:
            return
        status = response.status_code
        message = _envelope_message(response.content)
        if message is None:
            where = f"{response.request.method} {response.request.url.path}"
            message = f"The server answered {where} with status {status}: check --server."
        if self._server.key:
            message = message.replace(self._server.key, "***")
        elif status == httpx2.codes.UNAUTHORIZED:
            message += _NO_KEY
        again = response.headers.get("x-should-retry") != "false"
        raise Declined(printable(message), status=status, is_passing=again and status in _PASSING)

    @contextmanager
    def _words(self) -> Iterator[None]:
        """Turn what the transport raises into a sentence."""
        try:
            yield
        except httpx2.RequestError as error:
            raise Unreachable(_explain(error, self._server.url)) from None


@contextmanager
def open_api(server: Server, transport: httpx2.BaseTransport | None = None) -> Iterator[Api]:
    """Connections to a server; raises InvalidRequest for an address or a key that cannot be one."""
    server = Server(_base_url(server.url), _clean_key(server.key))
    headers = {"user-agent": "batchmill"}
    if server.key:
        headers["authorization"] = f"Bearer {server.key}"
    # A proxy for the world outside is not for a server on this machine; and loading the world's
    # certificates takes longer than asking it.
    url = httpx2.URL(server.url)
    is_local = url.host in _LOOPBACK
    with httpx2.Client(
        base_url=server.url,
        headers=headers,
        timeout=_TIMEOUT,
        transport=transport,
        trust_env=not is_local,
        verify=not is_local or url.scheme == "https",
    ) as client:
        yield Api(client, server)


def segment(thing_id: str) -> str:
    """An id as a part of a path; raises InvalidRequest for what would be another path."""
    if not thing_id.strip(". "):
        raise InvalidRequest(f"'{thing_id}' is not an id; `batchmill list` shows those there are.")
    return quote(thing_id, safe="")


def _base_url(given: str) -> str:
    try:
        url = httpx2.URL(given)
    except httpx2.InvalidURL:
        url = httpx2.URL()
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
        raise InvalidRequest(
            "--server takes an address such as http://127.0.0.1:8080/v1, "
            "with http or https and without a user's name."
        )
    path = url.path.rstrip("/") or "/v1"
    return str(url.copy_with(path=path, query=None, fragment=None))


def _clean_key(key: str | None) -> str | None:
    key = (key or "").strip()
    if not key.isascii() or not key.isprintable():
        raise InvalidRequest("The key holds characters that no key has: copy it again.")
    return key or None


def _size(response: httpx2.Response) -> int | None:
    length = response.headers.get("content-length", "")
    is_plain = "content-encoding" not in response.headers
    return int(length) if is_plain and length.isdigit() else None


def _envelope_message(body: bytes) -> str | None:
    """What an error body says, in the envelope or flat."""
    try:
        whole = msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError):
        return None
    error = whole.get("error")
    said = error.get("message") if isinstance(error, dict) else error or whole.get("message")
    return said if isinstance(said, str) and said else None


def _explain(error: httpx2.RequestError, url: str) -> str:
    if (reason := _tls_reason(error)) is not None:
        return f"{url} offers no safe connection ({reason}): check --server and its certificate."
    if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout)):
        return f"Cannot reach {url}: is it running? Start it with `batchmill serve`."
    if isinstance(error, httpx2.TimeoutException):
        return f"{url} did not answer in time: try again."
    return f"The connection to {url} broke before the answer was whole: try again."


def _tls_reason(error: BaseException) -> str | None:
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ssl.SSLError):
            return getattr(link, "verify_message", None) or getattr(link, "reason", None) or "TLS"
        link = link.__cause__ or link.__context__
    return None
