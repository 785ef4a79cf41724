"""One POST to one receiver, over HTTP/1.1 on a connection of its own.

The name is resolved once, every address of it is checked, and that very
address is connected to; TLS is verified against the name. Redirects and the
environment's proxies are not followed. Of the answer only its head is read.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from ipaddress import ip_address
from urllib.parse import urlsplit

import httptools

from batchmill.domain.receiver import DEFAULT_PORTS, find_url_fault, is_public
from batchmill.ports import PostFault, PostFaultKind
from batchmill.webhooks.names import Names

MAX_HEAD_BYTES = 65_536

_CHUNK = 4096
_MAX_ADDRESSES = 4
_AGENT = f"batchmill/{version('batchmill')}"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Place:
    """Where to connect: an address that was checked; ``tls_name`` is what TLS must prove."""

    address: str
    port: int
    tls: ssl.SSLContext | None = None
    tls_name: str | None = None


async def connect(place: Place) -> Streams:
    """Open a connection to that very address; raises OSError."""
    return await asyncio.open_connection(
        place.address, place.port, ssl=place.tls, server_hostname=place.tls_name
    )


class Sender:
    """The port Postman. ``timeout`` is for a whole try, in seconds."""

    def __init__(
        self,
        *,
        timeout: float,
        allow_private: bool = False,
        names: Names | None = None,
        connect: Callable[[Place], Awaitable[Streams]] = connect,
        make_tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self._timeout = timeout
        self._allow_private = allow_private
        self._names = names or Names()
        self._connect = connect
        self._make_tls = make_tls

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer, whose body is not read; raises PostFault."""
        if find_url_fault(url, allow_private=self._allow_private) is not None:
            raise PostFault(PostFaultKind.FORBIDDEN)
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(url, _request(url, body, headers))
        except TimeoutError:
            raise PostFault(PostFaultKind.TIMEOUT) from None

    async def _exchange(self, url: str, request: bytes) -> int:
        reader, writer = await self._open(await self._places(url))
        try:
            writer.write(request)
            await writer.drain()
            return await _read_status(reader)
        except OSError:
            raise PostFault(PostFaultKind.BROKEN) from None
        finally:
            writer.transport.abort()  # a polite end would wait for the receiver's

    async def _open(self, places: Sequence[Place]) -> Streams:
        share = self._timeout / len(places)
        for place in places:
            try:
                async with asyncio.timeout(share):
                    return await self._connect(place)
            except OSError:  # a TimeoutError among them: the next one has its share too
                continue
        raise PostFault(PostFaultKind.UNREACHABLE)

    async def _places(self, url: str) -> list[Place]:
        """Where the URL's host is, all of it checked; raises PostFault."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
        addresses = await self._resolve(host, port)
        if not self._allow_private and not all(_is_public(one) for one in addresses):
            raise PostFault(PostFaultKind.FORBIDDEN)
        tls, name = (self._tls, host) if parts.scheme == "https" else (None, None)
        return [Place(address, port, tls, name) for address in addresses[:_MAX_ADDRESSES]]

    async def _resolve(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self._names.resolve(host, port)
        except OSError:
            raise PostFault(PostFaultKind.UNRESOLVED) from None
        if not addresses:
            raise PostFault(PostFaultKind.UNRESOLVED)
        return addresses

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._make_tls()


def _is_public(address: str) -> bool:
    return is_public(ip_address(address.partition("%")[0]))


def _request(url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    fields = {
        "host": parts.netloc,
        "user-agent": _AGENT,
        "accept": "*/*",
        "connection": "close",
        "content-length": str(len(body)),
        **headers,
    }
    lines = [f"POST {parts.path or '/'}{query} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


async def _read_status(reader: asyncio.StreamReader) -> int:
    head = _Head()
    while head.status is None:
        data = await reader.read(_CHUNK)
        if not data:
            raise PostFault(PostFaultKind.BROKEN)
        head.feed(data)
    return head.status


class _Head:
    """The head of an answer as it comes; ``status`` once it is whole."""

    def __init__(self) -> None:
        self.status: int | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._read = 0

    def feed(self, data: bytes) -> None:
        """Read on; raises PostFault for what is not HTTP, and for a head without an end."""
        self._read += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self.status is None:
                raise PostFault(PostFaultKind.BROKEN) from None
        if self.status is None and self._read > MAX_HEAD_BYTES:
            raise PostFault(PostFaultKind.BROKEN)

    def on_headers_complete(self) -> None:
        """Called by the parser. What is below 200 says that the answer is still to come."""
        status = self._parser.get_status_code()
        if self.status is None and status >= 200:
            self.status = status
