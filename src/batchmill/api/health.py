"""For operators and their machines: is it alive, is it ready, how is it doing."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from batchmill.api import faults, samples, wire
from batchmill.api.docs import Success, operation
from batchmill.api.errors import NotReady, from_domain
from batchmill.api.routes import add_get
from batchmill.door.access import Access
from batchmill.telemetry import Fact, get_logger

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Probes:
    """How to ask: the database raises if it does not answer, the engine says whether it lives."""

    ping_store: Callable[[], Awaitable[None]]
    engine_lives: Callable[[], bool]
    metrics: Callable[[], bytes]


class HealthRoutes:
    """The operations that lie beside the API."""

    def __init__(self, probes: Probes) -> None:
        self._probes = probes

    def router(self) -> APIRouter:
        """The routes, at the root."""
        router = APIRouter(tags=["Operations"])
        add_get(router, "/healthz", self.healthz, **_HEALTHZ)
        add_get(router, "/readyz", self.readyz, **_READYZ)
        add_get(router, "/metrics", self.metrics, **_METRICS)
        return router

    async def healthz(self) -> Response:
        """The process answers."""
        return wire.answer(wire.Health())

    async def readyz(self) -> Response:
        """The database and the engine answer too."""
        try:
            await self._probes.ping_store()
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is "not ready"
            _log.warning(Fact.REQUEST_FAILED, route="/readyz", exc_info=error)
            return _not_ready("The database does not answer.")
        if not self._probes.engine_lives():
            return _not_ready("The engine does not answer.")
        return wire.answer(wire.Health())

    async def metrics(self) -> Response:
        """Figures for Prometheus."""
        return Response(self._probes.metrics(), media_type="text/plain; version=0.0.4")


def _not_ready(message: str) -> Response:
    return from_domain(NotReady(message))


_OK = [Success("It is.", wire.Health, {"ok": {"status": "ok"}})]
_HEALTHZ: dict[str, Any] = operation(
    "checkHealth",
    "Is the server alive?",
    "Answers as soon as the process serves.",
    access=Access.OPEN,
    success=_OK,
)
_READYZ: dict[str, Any] = operation(
    "checkReadiness",
    "Is the server ready?",
    "Answers 200 when the database and the engine answer. Uploads and status work while the "
    "engine is down.",
    access=Access.OPEN,
    success=_OK,
    errors=[faults.NOT_READY],
)
_METRICS: dict[str, Any] = operation(
    "readMetrics",
    "Read metrics",
    "Counters and gauges in the text format of Prometheus. Where keys are needed, any key of the "
    "operator's account will do: give your Prometheus a read-only one.",
    access=Access.OPERATOR_READ,
    success=[
        Success("The figures.", examples={"metrics": samples.METRICS}, media_type="text/plain")
    ],
)
