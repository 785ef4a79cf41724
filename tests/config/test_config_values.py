"""What the settings hold: units, limits by profile, the catalog, the way to a child process."""

from dataclasses import fields
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from batchmill.config import (
    LimitSettings,
    ModelSettings,
    Settings,
    UpstreamSettings,
    dump_settings,
    load_settings,
    restore_settings,
    with_models,
)
from batchmill.config.settings import DataSettings
from batchmill.config.units import (
    format_seconds,
    format_size,
    is_loopback,
    parse_seconds,
    parse_size,
)
from batchmill.domain.catalog import TEST_ENDPOINT, TEST_MODEL
from batchmill.domain.errors import ConfigError
from batchmill.domain.limits import PROFILES, Limits, Profile

SECRET = "sk-very-secret"


def served(name: str = "m", key: str | None = None) -> ModelSettings:
    upstream = UpstreamSettings(url="http://x/v1", api_key=SecretStr(key) if key else None)
    return ModelSettings(name=name, upstreams=(upstream,))


@pytest.mark.parametrize(
    ("text", "size"),
    [("500MB", 500 * 1024**2), ("6 kb", 6144), ("1GB", 1024**3), ("2TB", 2 * 1024**4), ("7", 7)],
)
def test_sizes_are_multiples_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.integers(min_value=0, max_value=10**18 - 1))
def test_a_size_that_is_shown_reads_as_itself(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(min_value=1, max_value=10**8))
def test_a_time_that_is_shown_reads_as_itself(seconds: int) -> None:
    assert parse_seconds(format_seconds(seconds)) == seconds


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("128.0.0.1", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, *, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("profile", list(Profile))
def test_the_profile_sets_the_limits(profile: Profile) -> None:
    assert Settings(profile=profile).to_limits() == PROFILES[profile]


def test_a_limit_that_is_set_wins_over_the_profile() -> None:
    loaded = load_settings(
        file=None, env={"BATCHMILL_LIMITS__MAX_FILE_BYTES": "1GB"}, flags={"profile": "openai"}
    )
    assert loaded.settings.to_limits().max_file_bytes == 1024**3
    assert loaded.settings.to_limits().completion_window_max == 86_400


def test_every_limit_of_the_domain_can_be_set() -> None:
    assert set(LimitSettings.model_fields) == {field.name for field in fields(Limits)}


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().server.port = 1


def test_the_catalog_has_the_models_and_the_test_model_on_its_own_endpoint() -> None:
    model = served().model_copy(update={"endpoints": ("/v1/embeddings",)})
    catalog = with_models(Settings(), [model]).catalog()
    assert catalog.serves_on("m", "/v1/embeddings")
    assert not catalog.serves_on("m", "/v1/chat/completions")
    assert catalog.serves_on(TEST_MODEL, TEST_ENDPOINT)
    assert not catalog.serves_on(TEST_MODEL, "/v1/chat/completions")
    assert not catalog.serves("other")


def test_any_model_is_taken_where_the_flag_says_so() -> None:
    loaded = load_settings(file=None, env={}, flags={"models_any": True})
    assert loaded.settings.catalog().serves("whatever")


def regional(name: str, rule: tuple[str, ...], *regions: str | None) -> ModelSettings:
    """A model with an upstream in each of the regions."""
    upstreams = tuple(UpstreamSettings(url="http://x", region=region) for region in regions)
    return ModelSettings(name=name, upstreams=upstreams, compute_regions=rule)


@pytest.mark.parametrize(
    ("rule", "regions", "allowed"),
    [
        (("*",), (None,), [None]),
        (("*",), ("cn", None), ["cn", None]),
        (("*", "!cn"), ("cn", None, "eu"), ["eu"]),
        (("cn",), ("cn", "eu"), ["cn"]),
        (("cn",), ("eu", None), []),
    ],
)
def test_a_model_is_offered_where_an_upstream_may_compute_it(
    rule: tuple[str, ...], regions: tuple[str | None, ...], allowed: list[str | None]
) -> None:
    model = regional("m", rule, *regions)
    settings = with_models(Settings(), [model])
    assert [one.region for one in model.allowed_upstreams()] == allowed
    assert settings.catalog().serves("m") == bool(allowed)
    assert settings.barred_models() == (frozenset() if allowed else {"m"})


@pytest.mark.parametrize(
    ("rule", "here", "served"),
    [(("*",), None, True), (("eu",), "eu", True), (("eu",), "us", False), (("eu",), None, False)],
)
def test_a_built_in_model_is_computed_where_the_deployment_is(
    rule: tuple[str, ...], here: str | None, served: bool
) -> None:
    model = ModelSettings(name="small", builtin="smollm2", compute_regions=rule)
    settings = Settings(models=(model,), data=DataSettings(region=here))
    assert settings.catalog().serves("small") is served


def test_any_model_is_taken_only_where_its_upstreams_may_compute_it() -> None:
    """A listed model that is barred does not slip through as one of the others."""
    barred = regional("m", ("cn",), "eu")
    for rule, others in ((("eu",), True), (("us",), False)):
        models = (barred, regional("*", rule, "eu"))
        catalog = Settings(models=models, models_any=True).catalog()
        assert not catalog.serves("m")
        assert catalog.serves("whatever") is others


def test_models_found_later_take_the_place_of_the_others() -> None:
    first = with_models(Settings(), [served("a"), served("b")])
    assert [model.name for model in with_models(first, [served("c")]).models] == ["c"]
    assert [model.name for model in first.models] == ["a", "b"]


def test_models_found_later_are_checked_too() -> None:
    with pytest.raises(ConfigError, match=r"models\.1\.name is 'a'"):
        with_models(Settings(), [served("a"), served("a")])
    with pytest.raises(ConfigError, match="built-in test model"):
        with_models(Settings(), [served(TEST_MODEL)])


def test_loaded_models_with_keys_can_be_joined_by_others(tmp_path: Path) -> None:
    file = tmp_path / "batchmill.toml"
    file.write_text(
        '[[models]]\nname = "a"\n[[models.upstreams]]\nurl = "http://x"\napi_key_env = "K"'
    )
    settings = load_settings(file=file, env={"K": SECRET}, flags={}).settings
    joined = with_models(settings, [*settings.models, served("b")])
    assert [model.name for model in joined.models] == ["a", "b"]


def test_utc_needs_no_zone_data() -> None:
    assert Settings().timezone() is UTC


def test_a_named_zone_is_read() -> None:
    assert str(Settings(list_timezone="Asia/Shanghai").timezone()) == "Asia/Shanghai"


def test_a_child_process_gets_the_same_settings_with_the_secrets() -> None:
    settings = with_models(Settings(profile=Profile.OPENAI), [served(key=SECRET)])
    restored = restore_settings(dump_settings(settings))
    assert restored == settings
    key = restored.models[0].upstreams[0].api_key
    assert key is not None
    assert key.get_secret_value() == SECRET


def test_no_view_of_the_settings_shows_a_secret() -> None:
    settings = with_models(Settings(), [served(key=SECRET)])
    views = (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump()))
    assert not [view for view in views if SECRET in view]


def test_a_base_url_has_no_slash_at_its_end() -> None:
    assert UpstreamSettings(url="https://x/v1/").url == "https://x/v1"
    assert UpstreamSettings(url="http://[::1]:8000").url == "http://[::1]:8000"


def test_the_folder_may_begin_with_the_home_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    loaded = load_settings(file=None, env={"BATCHMILL_DATA__DIR": "~/mill"}, flags={})
    assert loaded.settings.data.dir == Path("/somewhere/mill")
