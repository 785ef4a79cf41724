"""Which models a server will offer: those of the settings, of ``--upstream``, and built in."""

import asyncio
from collections.abc import Sequence

from batchmill.config import (
    SERVED_ENDPOINTS,
    ModelSettings,
    Settings,
    UpstreamSettings,
    with_models,
)
from batchmill.domain.catalog import ANY_MODEL
from batchmill.domain.errors import ConfigError
from batchmill.ports import TransportFault
from batchmill.upstream.http import fetch_models
from batchmill.upstream.smollm2 import NAME as SMOLLM2
from batchmill.upstream.smollm2 import find_weights
from batchmill.upstream.transports import open_asking
from batchmill.wiring.upstreams import make_target


def offer_models(settings: Settings, upstreams: Sequence[UpstreamSettings]) -> Settings:
    """The settings with every model that can be served now.

    Asks each of ``upstreams`` for its list. The built-in real model is offered
    where it is installed and nothing else was asked for. Raises ConfigError.
    """
    found = [*settings.models]
    names = {model.name for model in found}
    for upstream in upstreams:
        for name in _ask(upstream):
            if name not in names:
                names.add(name)
                found.append(_served(name, upstream))
    if not found and find_weights() is not None:
        found.append(ModelSettings(name=SMOLLM2, builtin="smollm2"))
    return with_models(settings, found)


def any_model(settings: Settings, upstream: UpstreamSettings) -> Settings:
    """The settings with one upstream for whatever model a line names."""
    every = ModelSettings(name=ANY_MODEL, endpoints=SERVED_ENDPOINTS, upstreams=(upstream,))
    return with_models(settings, [every]).model_copy(update={"models_any": True})


def _served(name: str, upstream: UpstreamSettings) -> ModelSettings:
    # A list of models does not say which endpoints they answer on: a line for
    # one that the server lacks gets the server's own 404.
    return ModelSettings(name=name, endpoints=SERVED_ENDPOINTS, upstreams=(upstream,))


def _ask(upstream: UpstreamSettings) -> list[str]:
    try:
        names = asyncio.run(fetch_models(make_target(upstream), open_asking))
    except TransportFault as fault:
        raise ConfigError(
            f"The upstream {upstream.url} did not answer /models ({fault.kind}): "
            "start it first, or name its models in a configuration file."
        ) from fault
    if not names:
        raise ConfigError(f"The upstream {upstream.url} serves no model: load one there first.")
    return names
