"""The upstreams as those see them who only ask about tokens. Nothing of the engine is loaded."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from batchmill.config import ModelSettings, TransportKind, UpstreamSettings
from batchmill.domain.catalog import ANY_MODEL
from batchmill.ports import Identity, Proxy, Target
from batchmill.upstream.http_tls import make_context
from batchmill.upstream.tokenizer import Seat, Tokenizer
from batchmill.upstream.transports import check_installed

# Whoever asks for an estimate waits for this: one that is down may have a twin that is not.
_ASKED: Final = 2


def make_target(settings: UpstreamSettings) -> Target:
    """How to reach an upstream."""
    key = settings.api_key
    return Target(
        settings.url,
        api_key=key.get_secret_value() if key is not None else None,
        connect_timeout=settings.connect_timeout,
        request_timeout=settings.request_timeout,
        first_byte_timeout=settings.first_byte_timeout,
        max_answer_bytes=settings.max_answer_bytes,
        ca=settings.ca,
        identity=_identity(settings),
        with_aiohttp=settings.transport is TransportKind.AIOHTTP,
        proxy=_proxy(settings),
    )


def check_upstreams(models: Iterable[ModelSettings]) -> None:
    """Read the files of every upstream's TLS, and look for its transport; raises ConfigError."""
    for model in models:
        for one in model.upstreams:
            check_installed(make_target(one))
            if one.ca is not None or one.client_certificate is not None:
                make_context(make_target(one))


def _proxy(settings: UpstreamSettings) -> Proxy | None:
    login = settings.proxy_auth
    if settings.proxy is None:
        return None
    return Proxy(settings.proxy, login.get_secret_value() if login is not None else None)


def _identity(settings: UpstreamSettings) -> Identity | None:
    certificate = settings.client_certificate
    return Identity(certificate, settings.client_key or certificate) if certificate else None


class UpstreamCounter:
    """Counts tokens at the upstreams of a model; a TokenCounter of the estimates.

    Only where the model's lines may be computed: to count them is to send them.
    """

    def __init__(self, models: Sequence[ModelSettings], tokenizer: Tokenizer) -> None:
        self._seats: Mapping[str, Sequence[Seat]] = {
            model.name: [
                Seat(make_target(one), one.model) for one in model.allowed_upstreams()[:_ASKED]
            ]
            for model in models
        }
        self._tokenizer = tokenizer

    async def __call__(self, model: str, bodies: Sequence[bytes]) -> Sequence[int] | None:
        """The input tokens of each body, by the first upstream that tells; None where none does."""
        for seat in self._seats.get(model, self._seats.get(ANY_MODEL, ())):
            counts = await self._tokenizer.count(seat, model, bodies)
            if counts is not None:
                return counts
        return None
