"""Requests to model servers by aiohttp, for whoever asks for it: it knows proxies.

What callers see is the same as of ``http.HttpTransport``, down to the kinds of faults. Nothing is
read from the environment: a proxy is one that the target names. Loaded only where it is used.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO

import aiohttp
from yarl import URL

from batchmill.ports import FaultKind, Reply, Target, TransportFault
from batchmill.upstream.aiohttp_connections import WRITING, SessionSettings, Writing, open_session
from batchmill.upstream.aiohttp_route import find_route
from batchmill.upstream.http_address import (
    IDLE_TIMEOUT,
    check_key,
    parse_url,
    shared_fields,
    whole_path,
)
from batchmill.upstream.http_fields import Oversized, Unreadable, read_retry_after, unpack
from batchmill.upstream.http_tls import make_context

_PROXY_REFUSES = 407
_WRONG_LOGIN = "the proxy asks for another user and password"


class AiohttpTransport:
    """Sends requests to one target; implements ``ports.CoroutineTransport``."""

    def __init__(
        self,
        target: Target,
        *,
        idle_timeout: float = IDLE_TIMEOUT,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises ConfigError for a URL, key, login or file that cannot be used.

        ``idle_timeout`` and ``wall_clock`` are those of ``HttpTransport``.
        """
        address = parse_url(target.url)
        self._target = target
        self._address = address
        self._origin = f"{'https' if address.tls else 'http'}://{address.authority}"
        self._tls = make_context(target) if address.tls else None
        self._route = find_route(target.proxy, is_tunnel=address.tls)
        self._fields = {**shared_fields(address, target.api_key), **self._route.fields}
        self._idle_timeout = idle_timeout
        self._wall_clock = wall_clock
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        # One for each request in flight; closing makes them run out.
        self._limits: set[asyncio.Timeout] = set()
        self._emptied: asyncio.Future[None] | None = None
        self._is_closed = False

    async def send(
        self, path: str, body: bytes, idempotency_key: str, timeout: float | None = None
    ) -> Reply:
        """POST ``body``; see ``ports.CoroutineTransport.send``.

        Raises ValueError where ``path`` or ``idempotency_key`` cannot stand in a request head.
        """
        check_key(idempotency_key)
        fields = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key}
        return await self._exchange(self._request("POST", path, fields, body), timeout)

    async def get(self, path: str, timeout: float | None = None) -> Reply:
        """GET ``path`` under the target's base; raises TransportFault and ValueError."""
        return await self._exchange(self._request("GET", path, {}, None), timeout)

    async def close(self) -> None:
        """Abort what is in flight (its callers get RESET) and close every connection."""
        self._is_closed = True
        loop = asyncio.get_running_loop()
        for limit in tuple(self._limits):
            # One that has just run out ends by itself, and may not be moved any more.
            if not limit.expired():
                limit.reschedule(loop.time())
        if self._limits:
            self._emptied = self._emptied or loop.create_future()
            await asyncio.shield(self._emptied)
        for session in self._sessions.values():
            await session.close()

    def _request(
        self, method: str, path: str, fields: Mapping[str, str], body: bytes | None
    ) -> "_Request":
        url = URL(f"{self._origin}{whole_path(self._address, path)}", encoded=True)
        return _Request(method, url, {**self._fields, **fields}, body)

    async def _exchange(self, request: "_Request", timeout: float | None) -> Reply:
        allowed = self._target.request_timeout
        if timeout is not None and timeout < allowed:
            allowed = timeout
        if allowed <= 0:
            raise TransportFault(FaultKind.TIMEOUT, "no time was left to send it")
        self._check_open()
        limit = asyncio.timeout(allowed)
        try:
            async with limit:
                self._limits.add(limit)
                return await self._send_once_or_twice(request)
        except TimeoutError:
            self._check_open()
            raise TransportFault(FaultKind.TIMEOUT, "no whole answer in time") from None
        finally:
            self._leave(limit)

    async def _send_once_or_twice(self, request: "_Request") -> Reply:
        try:
            return await self._ask(self._session(keeps=True), request)
        except _Stale:
            # Other kept connections may have been closed too: take none of them.
            return await self._ask(self._session(keeps=False), request)

    async def _ask(self, session: aiohttp.ClientSession, request: "_Request") -> Reply:
        """The answer to one writing; raises _Stale and TransportFault."""
        writing = Writing(self._target.first_byte_timeout)
        response = await self._begin(session, request, writing)
        try:
            return await self._read(response, writing)
        finally:
            # One that was read to its end has given its connection back.
            response.close()

    async def _begin(
        self, session: aiohttp.ClientSession, request: "_Request", writing: Writing
    ) -> aiohttp.ClientResponse:
        """Send it, up to the head of the answer: no byte of that can be seen before it is whole."""
        earlier = WRITING.set(writing)
        try:
            async with writing.first_byte:
                return await self._send(session, request)
        except aiohttp.ConnectionTimeoutError:
            raise self._unreachable("no connection within the connect time-out") from None
        except TimeoutError:
            raise TransportFault(FaultKind.TIMEOUT, "no head of an answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._reason(error, writing) from None
        finally:
            WRITING.reset(earlier)

    async def _send(
        self, session: aiohttp.ClientSession, request: "_Request"
    ) -> aiohttp.ClientResponse:
        return await session.request(
            request.method,
            request.url,
            data=None if request.body is None else BytesIO(request.body),
            headers=request.fields,
            allow_redirects=False,
            proxy=self._route.proxy,
            proxy_headers=self._route.tunnel_fields,
        )

    async def _read(self, response: aiohttp.ClientResponse, writing: Writing) -> Reply:
        fields = _joined(response.raw_headers)
        coding = fields.get(b"transfer-encoding")
        if response.status < 200 or (coding or b"chunked").strip().lower() != b"chunked":
            raise _garbled()
        if response.status == _PROXY_REFUSES and self._route.proxy is not None:
            raise self._unreachable(_WRONG_LOGIN)
        is_until_close = coding is None and b"content-length" not in fields
        body = await self._read_body(response, writing, is_until_close=is_until_close)
        try:
            if b"content-encoding" in fields:
                body = unpack(body, fields[b"content-encoding"], self._target.max_answer_bytes)
        except Oversized:
            raise self._too_large() from None
        except Unreadable:
            raise TransportFault(
                FaultKind.GARBLED, "the answer's content encoding is unknown or broken"
            ) from None
        return Reply(response.status, body, read_retry_after(fields, self._wall_clock()))

    async def _read_body(
        self, response: aiohttp.ClientResponse, writing: Writing, *, is_until_close: bool
    ) -> bytes:
        cap = self._target.max_answer_bytes
        if (response.content_length or 0) > cap:
            raise self._too_large()
        line = writing.line
        if line is not None:
            line.content = response.content
        parts: list[bytes] = []
        size = 0
        try:
            async for part in response.content.iter_any():
                size += len(part)
                if size > cap:
                    raise self._too_large()
                parts.append(part)
        except (aiohttp.ClientError, OSError):
            raise (_garbled() if line is not None and line.is_garbled else _cut()) from None
        if is_until_close and line is not None and line.is_broken:
            raise _cut()
        return b"".join(parts)

    def _session(self, *, keeps: bool) -> aiohttp.ClientSession:
        session = self._sessions.get(keeps)
        if session is None:
            settings = SessionSettings(
                keeps=keeps,
                connect_timeout=self._target.connect_timeout,
                idle_timeout=self._idle_timeout,
                tls=self._tls,
            )
            session = self._sessions[keeps] = open_session(settings)
        return session

    def _leave(self, limit: asyncio.Timeout) -> None:
        self._limits.discard(limit)
        if not self._limits and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _check_open(self) -> None:
        if self._is_closed:
            raise TransportFault(FaultKind.RESET, "the transport is closed")

    def _reason(self, error: Exception, writing: Writing) -> Exception:
        """Why no answer began, in words of ours: the library's may hold URLs and headers."""
        if isinstance(error, aiohttp.ClientHttpProxyError):
            refused = error.status == _PROXY_REFUSES
            said = _WRONG_LOGIN if refused else f"the proxy answered with status {error.status}"
            return self._unreachable(said)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return self._unreachable(str(error.certificate_error))
        if isinstance(error, aiohttp.ClientConnectorError):
            where = "the proxy: " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
            return self._unreachable(f"{where}{error.os_error}")
        if writing.line is None:
            return self._unreachable("the connection ended before it could be used")
        if writing.is_stale_by(error):
            return _Stale()
        return _garbled() if isinstance(error, aiohttp.ClientResponseError) else _cut()

    def _unreachable(self, why: str) -> TransportFault:
        return TransportFault(FaultKind.UNREACHABLE, f"{self._address.authority}: {why}")

    def _too_large(self) -> TransportFault:
        cap = self._target.max_answer_bytes
        return TransportFault(FaultKind.TOO_LARGE, f"the answer is larger than {cap} bytes")


class _Stale(Exception):
    """A kept connection ended without a byte of an answer: the upstream had closed it already."""


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: URL
    fields: Mapping[str, str]
    body: bytes | None


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The fields of an answer by lower-case names; what stands more than once, as a list."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        known = fields.get(name.lower())
        fields[name.lower()] = value if known is None else b"%b, %b" % (known, value)
    return fields


def _garbled() -> TransportFault:
    return TransportFault(FaultKind.GARBLED, "the answer is not HTTP/1")


def _cut() -> TransportFault:
    return TransportFault(FaultKind.RESET, "the connection ended before the answer did")
