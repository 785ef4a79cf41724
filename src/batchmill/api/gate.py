"""The outermost layer of the door: request ids, what is left of a rate, hosts, the last resort.

Every response carries an ``x-request-id`` that was made here, and every error
that nobody answered is answered here. Written against ASGI, so that nothing is
wrapped around the streams of files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from batchmill.api.errors import ForeignPage, Misdirected, from_domain, surprise
from batchmill.api.hosts import HostRule
from batchmill.api.routes import below_base
from batchmill.api.throttle import rate_headers, refusing_rule
from batchmill.domain.rates import RateRule
from batchmill.telemetry import Fact, bound, get_logger

_UNKNOWN_ROUTE = "unknown"

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Served:
    """A request that was served: for metrics. ``status`` 0 says that the client went away.

    ``received`` and ``sent`` are bytes of bodies; ``refused_by`` is the rate that was exceeded.
    """

    method: str
    route: str
    status: int
    seconds: float
    received: int = 0
    sent: int = 0
    refused_by: RateRule | None = None


Observer = Callable[[Served], None]


class Gate:
    """The layer as an ASGI application around another."""

    def __init__(self, app: ASGIApp, *, hosts: HostRule, observe: Observer) -> None:
        self._app = app
        self._hosts = hosts
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other kinds of traffic pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = perf_counter()
        exchange = _Exchange(scope, receive, send)
        with bound(request_id=exchange.request_id):
            await self._serve(exchange)
            served = exchange.summary(perf_counter() - begun)
            self._observe(served)
            _log.debug(
                Fact.REQUEST_SERVED,
                method=served.method,
                route=served.route,
                status=served.status,
                seconds=round(served.seconds, 6),
            )

    async def _serve(self, exchange: "_Exchange") -> None:
        scope = exchange.scope
        try:
            self._hosts.check(Headers(scope=scope))
            await self._app(scope, exchange.receive, exchange.send)
        except (Misdirected, ForeignPage) as refused:
            await from_domain(refused)(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            _log.debug(Fact.REQUEST_REFUSED, route=exchange.route, reason="client went away")
        except Exception as error:  # noqa: BLE001 - the last resort: logged and answered
            _log.error(Fact.REQUEST_FAILED, route=exchange.route, exc_info=error)
            # once a response has begun the server closes the connection, which says enough
            if exchange.status == 0:
                await surprise(exchange.request_id)(scope, exchange.receive, exchange.send)


class _Exchange:
    """One request on the way in, and its response on the way out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.request_id = f"req_{token_hex(16)}"
        # a page that tells of an error names it
        scope.setdefault("state", {})["request_id"] = self.request_id
        self.status = 0
        self._received = 0
        self._sent = 0
        self._receive = receive
        self._send = send

    @property
    def route(self) -> str:
        """The template of the path, never the path: ids and names stay out of metrics."""
        path = getattr(self.scope.get("route"), "path", None)
        if path is None:
            return _UNKNOWN_ROUTE
        return f"{self.scope.get('root_path', '')}{below_base(path)}"

    def summary(self, seconds: float) -> Served:
        """What is told of the request when it has been served."""
        return Served(
            method=self.scope["method"],
            route=self.route,
            status=self.status,
            seconds=seconds,
            received=self._received,
            sent=self._sent,
            refused_by=refusing_rule(self.scope),
        )

    async def receive(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.request_id
            headers.update(rate_headers(self.scope))
        await self._send(message)
        # a file that the server sends by itself says only how long it is
        self._sent += message.get("count", 0) or len(message.get("body", b""))
