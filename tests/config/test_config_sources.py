"""Where settings come from, which source wins, and how each value's origin is told."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from batchmill.config import Loaded, load_settings
from batchmill.domain.errors import ConfigError
from batchmill.domain.rates import Rate, RateRule


def load(
    tmp_path: Path,
    text: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Loaded:
    file = None
    if text is not None:
        file = tmp_path / "batchmill.toml"
        file.write_text(text, encoding="utf-8")
    return load_settings(file=file, env=env or {}, flags=flags or {})


def test_nothing_given_is_all_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert loaded.settings.server.port == 8080
    assert set(loaded.origins.values()) == {"default"}


@pytest.mark.parametrize(
    ("text", "env", "flags", "port", "origin"),
    [
        ("[server]\nport = 1", {}, {}, 1, "file {file}"),
        (
            "[server]\nport = 1",
            {"BATCHMILL_SERVER__PORT": "2"},
            {},
            2,
            "environment BATCHMILL_SERVER__PORT",
        ),
        (
            "[server]\nport = 1",
            {"BATCHMILL_SERVER__PORT": "2"},
            {"server.port": 3},
            3,
            "flag --port",
        ),
        ("[server]\nport = 1", {}, {"server.port": 3}, 3, "flag --port"),
    ],
)
def test_flags_win_over_environment_over_file(
    tmp_path: Path,
    text: str,
    env: Mapping[str, str],
    flags: Mapping[str, object],
    port: int,
    origin: str,
) -> None:
    loaded = load(tmp_path, text, env=env, flags=flags)
    assert loaded.settings.server.port == port
    assert loaded.origins["server.port"] == origin.format(file=tmp_path / "batchmill.toml")


def test_sources_are_merged_setting_by_setting(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "[server]\nport = 1\nhost = '127.0.0.2'",
        env={"BATCHMILL_SERVER__HOST": "localhost"},
    )
    assert (loaded.settings.server.host, loaded.settings.server.port) == ("localhost", 1)


def test_a_flag_that_was_not_given_changes_nothing(tmp_path: Path) -> None:
    loaded = load(tmp_path, "[server]\nport = 1", flags={"server.port": None})
    assert loaded.settings.server.port == 1


def test_an_empty_section_wipes_nothing(tmp_path: Path) -> None:
    loaded = load(tmp_path, "[server]\n[log]\nlevel = 'DEBUG'")
    assert loaded.settings.server.port == 8080
    assert loaded.settings.log.level == "debug"


def test_the_environment_of_the_process_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHMILL_SERVER__PORT", "9999")
    assert load(tmp_path).settings.server.port == 8080


def test_models_in_the_environment_replace_those_of_the_file(tmp_path: Path) -> None:
    text = (
        '[[models]]\nname = "a"\n[[models.upstreams]]\nurl = "http://y"\nweight = 2\n'
        '[[models]]\nname = "b"\nbuiltin = "smollm2"'
    )
    variable = '[{"name": "c", "upstreams": [{"url": "http://x/v1"}]}]'
    loaded = load(tmp_path, text, env={"BATCHMILL_MODELS": variable})
    assert [model.name for model in loaded.settings.models] == ["c"]
    assert loaded.origins["models.0.upstreams.0.url"] == "environment BATCHMILL_MODELS"
    assert loaded.origins["models.0.upstreams.0.weight"] == "default"
    assert not [path for path in loaded.origins if path.startswith("models.1")]


def test_every_setting_in_force_has_an_origin(tmp_path: Path) -> None:
    text = '[[models]]\nname = "a"\n[[models.upstreams]]\nurl = "http://x/v1"'
    loaded = load(tmp_path, text)
    assert loaded.origins["models.0.name"].startswith("file ")
    assert loaded.origins["models.0.upstreams.0.request_timeout"] == "default"
    assert loaded.origins["limits.max_lines"] == "default"


def test_lists_of_names_are_written_with_commas_in_a_variable(tmp_path: Path) -> None:
    loaded = load(tmp_path, env={"BATCHMILL_SERVER__ALLOWED_HOSTS": "Batch.Local, other"})
    assert loaded.settings.server.allowed_hosts == ("batch.local", "other")


def test_variables_of_other_parts_are_left_alone(tmp_path: Path) -> None:
    env = {"BATCHMILL_CONFIG": "x", "BATCHMILL_FAULT": "y", "OTHER": "z"}
    assert set(load(tmp_path, env=env).origins.values()) == {"default"}


def test_a_key_is_read_from_the_variable_that_is_named(tmp_path: Path) -> None:
    text = '[[models]]\nname = "a"\n[[models.upstreams]]\nurl = "http://x"\napi_key_env = "K"'
    loaded = load(tmp_path, text, env={"K": "sk-1"})
    key = loaded.settings.models[0].upstreams[0].api_key
    assert key is not None
    assert key.get_secret_value() == "sk-1"
    assert loaded.origins["models.0.upstreams.0.api_key"] == "environment K"


def test_a_rate_is_written_alike_in_the_file_and_in_the_environment(tmp_path: Path) -> None:
    env = {"BATCHMILL_RATES__FILE_UPLOAD": "5/s"}
    loaded = load(tmp_path, '[rates]\nbatch_list = "7/m"', env=env)
    assert loaded.settings.to_rates() == {
        RateRule.FILE_UPLOAD: Rate(5, 1.0),
        RateRule.BATCH_LIST: Rate(7, 60.0),
    }


def test_a_rate_in_the_environment_that_is_none_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="BATCHMILL_RATES__FILE_UPLOAD"):
        load(tmp_path, env={"BATCHMILL_RATES__FILE_UPLOAD": "5 a second"})
