"""Which models a server offers: its settings', its upstreams', and the built-in one."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchmill.cli import discovery
from batchmill.cli.discovery import any_model, offer_models
from batchmill.cli.serve import upstream_settings
from batchmill.config import SERVED_ENDPOINTS, ModelSettings, Settings, UpstreamSettings
from batchmill.domain.errors import ConfigError
from batchmill.upstream.mock import MockUpstream, Script


@pytest.fixture
def upstream() -> Iterator[str]:
    """The URL of a server of two models, on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    mock = MockUpstream(Script(models=("a", "b"), require_key="secret"))
    try:
        yield asyncio.run_coroutine_threadsafe(mock.start(), loop).result(60)
    finally:
        asyncio.run_coroutine_threadsafe(mock.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def names(settings: Settings) -> list[str]:
    return [model.name for model in settings.models]


def asked(url: str, monkeypatch: pytest.MonkeyPatch) -> list[UpstreamSettings]:
    monkeypatch.setenv("UPSTREAM_KEY", "secret")
    return upstream_settings([url], "UPSTREAM_KEY")


def test_every_model_of_an_upstream_is_offered_on_every_endpoint(
    upstream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = offer_models(Settings(), asked(upstream, monkeypatch))
    assert names(settings) == ["a", "b"]
    assert all(model.endpoints == SERVED_ENDPOINTS for model in settings.models)
    assert settings.models[0].upstreams[0].url == upstream


def test_a_model_of_the_settings_keeps_its_own_upstreams(
    upstream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ModelSettings(name="a", upstreams=(UpstreamSettings(url="http://127.0.0.1:9/v1"),))
    settings = offer_models(Settings(models=(own,)), asked(upstream, monkeypatch))
    assert names(settings) == ["a", "b"]
    assert settings.models[0] == own


def test_a_wrong_key_is_said_without_it(upstream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "not-the-key")
    with pytest.raises(ConfigError) as refused:
        offer_models(Settings(), upstream_settings([upstream], "UPSTREAM_KEY"))
    assert "refused the API key" in refused.value.message
    assert "not-the-key" not in refused.value.message


def test_an_upstream_that_is_not_there_stops_the_start() -> None:
    with pytest.raises(ConfigError) as refused:
        offer_models(Settings(), upstream_settings(["http://127.0.0.1:9/v1"], None))
    assert "http://127.0.0.1:9/v1" in refused.value.message
    assert "start it first" in refused.value.message


def test_the_built_in_model_is_offered_where_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(discovery, "find_weights", lambda: tmp_path)
    assert names(offer_models(Settings(), ())) == ["smollm2-135m-instruct"]
    own = ModelSettings(name="a", upstreams=(UpstreamSettings(url="http://127.0.0.1:9/v1"),))
    assert names(offer_models(Settings(models=(own,)), ())) == ["a"]


def test_without_the_built_in_model_only_the_test_model_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "find_weights", lambda: None)
    settings = offer_models(Settings(), ())
    assert names(settings) == []
    assert settings.catalog().serves("batch-test-model")


def test_one_upstream_may_take_every_model() -> None:
    settings = any_model(Settings(), UpstreamSettings(url="http://127.0.0.1:9/v1"))
    assert settings.catalog().serves_on("whatever", "/v1/chat/completions")
