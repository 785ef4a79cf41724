"""A wrong setting stops the start with a sentence that names it and shows no secret."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from batchmill.config import load_settings
from batchmill.domain.errors import ConfigError

MODEL = '[[models]]\nname = "m"\n'
UPSTREAM = f"{MODEL}[[models.upstreams]]\n"
AT = "models.0.upstreams.0"


def refusal(
    tmp_path: Path,
    data: str | bytes | None = None,
    *,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> str:
    """The sentence that loading stops with, without the folder of the file."""
    file = None
    if data is not None:
        file = tmp_path / "batchmill.toml"
        file.write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(ConfigError) as caught:
        load_settings(file=file, env=env or {}, flags=flags or {})
    return caught.value.message.replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("port = 1", "port (file batchmill.toml) is not a setting; did you mean server.port?"),
        (
            "[server]\nprt = 1",
            "server.prt (file batchmill.toml) is not a setting; did you mean server.port?",
        ),
        (f"{MODEL}nmae = 1", "models.0.nmae (file batchmill.toml) is not a setting; did you mean "),
        ("[zzz]", "zzz (file batchmill.toml) is not a setting."),
        ('"a.b" = 1', '"a.b" (file batchmill.toml) is not a setting.'),
        (
            "[server]\nport = 65536",
            "server.port is 65536 (file batchmill.toml), but must be a whole number from 0 ",
        ),
        ("[server]\nport = true", "server.port is True (file"),
        ("[server]\nport = -1", "server.port is -1 (file"),
        ("server = 5", "server is 5 (file batchmill.toml), but must be a table of settings."),
        ('profile = "x"', "profile is 'x' (file batchmill.toml), but must be qwen or openai."),
        ("mixed_models = 'perhaps'", "mixed_models is 'perhaps' (file"),
        ("list_timezone = 'Mars/Base'", "list_timezone is 'Mars/Base' (file"),
        ("list_timezone = '../../etc'", "list_timezone is '../../etc' (file"),
        ("list_timezone = 'America'", "list_timezone is 'America' (file"),
        ("[limits]\nmax_lines = 0", "limits.max_lines is 0 (file"),
        ("[limits]\nmax_file_bytes = '5 PB'", "limits.max_file_bytes is '5 PB' (file"),
        ("[limits]\ncompletion_window_min = '24x'", "limits.completion_window_min is '24x' (file"),
        (
            "[limits]\ncompletion_window_min = '337h'",
            (
                "limits.completion_window_min is 337h (file batchmill.toml), but must not be above "
                "limits.completion_window_max."
            ),
        ),
        ("[engine]\nsync_interval = nan", "engine.sync_interval is nan (file"),
        ("[engine]\nmax_attempts = 1.5", "engine.max_attempts is 1.5 (file"),
        ("[engine]\nbackoff_base = '2m'", "engine.backoff_base is 2m (file"),
        ("[data]\ndir = '~nobody-of-this-name/x'", "data.dir is '~nobody-of-this-name/x' (file"),
        ("[log]\nlevel = 'loud'", "log.level is 'loud' (file batchmill.toml), but must be one of "),
        (
            "[server]\nallowed_hosts = ['a:80']",
            (
                "server.allowed_hosts.0 is 'a:80' (file batchmill.toml), but server.allowed_hosts "
                "must be a list of host names without a port"
            ),
        ),
        ("models = 5", "models is 5 (file batchmill.toml), but must be a list of tables"),
        ("models = ['x']", "models.0 is 'x' (file batchmill.toml), but models must be a list"),
        ("[[models]]", "models.0.name is missing (in file batchmill.toml): it must be 1 to 200 "),
        (
            f"{UPSTREAM}url = 'http://x'\nca = 'ca.pem'",
            f"{AT}.ca is 'ca.pem' (file batchmill.toml), but the url is no https",
        ),
        (
            f"{UPSTREAM}url = 'http://x'\nclient_certificate = 'me.pem'",
            f"{AT}.client_certificate is 'me.pem' (file batchmill.toml), but the url is no https",
        ),
        (
            f"{UPSTREAM}url = 'https://x'\nclient_key = 'me.key'",
            f"{AT}.client_key is 'me.key' (file batchmill.toml), but there is no client_cert",
        ),
        (MODEL, "models.0.upstreams is a list (file batchmill.toml), but a model needs"),
        (f"{MODEL}builtin = 'gpt'", "models.0.builtin is 'gpt' (file"),
        (
            f"{MODEL}builtin = 'smollm2'\n[[models.upstreams]]\nurl = 'http://x'",
            "models.0.builtin is 'smollm2' (file batchmill.toml), but the model has upstreams too",
        ),
        (
            f"{MODEL}builtin = 'smollm2'\n{MODEL}builtin = 'smollm2'",
            "models.1.name is 'm' (file batchmill.toml), but another model has that name",
        ),
        (
            "[[models]]\nname = 'batch-test-model'\nbuiltin = 'smollm2'",
            "models.0.name is 'batch-test-model' (file batchmill.toml), but that name belongs",
        ),
        (f"{MODEL}endpoints = ['/v1/chat/ds-test']", "models.0.endpoints.0 is '/v1/chat/ds-test'"),
        (f"{MODEL}endpoints = []", "models.0.endpoints is a list (file"),
        (UPSTREAM, f"{AT}.url is missing (in file batchmill.toml): it must be an http"),
        (f"{UPSTREAM}url = 'ftp://x'", f"{AT}.url is 'ftp://x' (file"),
        (f"{UPSTREAM}url = 'http://x:65536'", f"{AT}.url is 'http://x:65536' (file"),
        (f"{UPSTREAM}url = 'http://x/a b'", f"{AT}.url is 'http://x/a b' (file"),
        (f"{UPSTREAM}url = 'http://x'\nweight = 0", f"{AT}.weight is 0 (file"),
        (f"{UPSTREAM}url = 'http://x'\nregion = 'EU'", f"{AT}.region is 'EU' (file"),
        (
            f"{UPSTREAM}url = 'http://x'\nregion = ''",
            (
                f"{AT}.region is '' (file batchmill.toml), but must be the name of a region: up to "
                "63 small letters, digits and -, such as eu-west."
            ),
        ),
        (
            f"{MODEL}compute_regions = ['!*']",
            (
                "models.0.compute_regions.0 is '!*' (file batchmill.toml), but "
                "models.0.compute_regions must be a list of one or more of: a region's name, "
                "* for every region, !name."
            ),
        ),
        (f"{MODEL}compute_regions = []", "models.0.compute_regions is a list (file"),
        (
            f"{UPSTREAM}url = 'http://x'".replace(MODEL, f"{MODEL}compute_regions=['cn', '!cn']\n"),
            (
                "models.0.compute_regions is a list (file batchmill.toml), but it excludes every "
                "region that it names"
            ),
        ),
        (
            f"{UPSTREAM}url = 'http://x'\napi_key_env = 'UNSET'",
            (
                f"{AT}.api_key_env is set (file batchmill.toml), but the environment variable "
                "UNSET is not set"
            ),
        ),
        (
            f"{UPSTREAM}url = 'http://x'\napi_key_env = 'UNSET'\napi_key = 'k'",
            f"{AT}.api_key_env is set (file batchmill.toml), but api_key is set too",
        ),
        ("a =", "The configuration file batchmill.toml is not valid TOML: "),
        (b"a = '\xff'", "The configuration file batchmill.toml is not UTF-8 at byte 5"),
        (f"a = {'[' * 100_000}", "The configuration file batchmill.toml nests too deeply"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    assert refusal(tmp_path, text).startswith(sentence)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PORT", "1", "The environment variable BATCHMILL_PORT is not a setting; did you mean "),
        (
            "SERVER_PORT",
            "1",
            (
                "The environment variable BATCHMILL_SERVER_PORT is not a setting; did you mean "
                "BATCHMILL_SERVER__PORT?"
            ),
        ),
        ("SERVER", "{}", "The environment variable BATCHMILL_SERVER names a section, not a"),
        ("SERVER__Port", "1", "The environment variable BATCHMILL_SERVER__Port is not a setting"),
        ("ZZZ", "1", "The environment variable BATCHMILL_ZZZ is not a setting."),
        ("PROFILE", "", "profile is '' (environment BATCHMILL_PROFILE), but must be qwen or "),
        ("SERVER__PORT", "x", "server.port is 'x' (environment BATCHMILL_SERVER__PORT), but"),
        ("MODELS", "[{", "The environment variable BATCHMILL_MODELS is not valid JSON (Expect"),
        ("MODELS", "", "The environment variable BATCHMILL_MODELS is not valid JSON (Expect"),
        (
            "MODELS",
            "[" * 100_000,
            "The environment variable BATCHMILL_MODELS is not valid JSON (it",
        ),
        ("MODELS", "5", "models is 5 (environment BATCHMILL_MODELS), but must be a list"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(
    tmp_path: Path, name: str, value: str, sentence: str
) -> None:
    assert refusal(tmp_path, env={f"BATCHMILL_{name}": value}).startswith(sentence)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"server.port": "x"}, "server.port is 'x' (flag --port), but must be"),
        ({"data.dir": 5}, "data.dir is 5 (flag --data-dir), but must be"),
        ({"server.prt": 1}, "server.prt (flag --prt) is not a setting; did you mean server.port?"),
    ],
)
def test_a_wrong_flag_is_refused_by_name(
    tmp_path: Path, flags: Mapping[str, object], sentence: str
) -> None:
    assert refusal(tmp_path, flags=flags).startswith(sentence)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.2", "example.org"])
def test_other_addresses_than_loopback_need_keys(host: str) -> None:
    assert load_settings(file=None, env={}, flags={"server.host": host}).settings.needs_keys


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_on_loopback_keys_are_asked_for_where_the_operator_says_so(host: str) -> None:
    flags: dict[str, object] = {"server.host": host}
    assert not load_settings(file=None, env={}, flags=flags).settings.needs_keys
    flags["server.require_keys"] = True
    assert load_settings(file=None, env={}, flags=flags).settings.needs_keys


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=re.escape("/none/such.toml cannot be read (No such")):
        load_settings(file=Path("/none/such.toml"), env={}, flags={})


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(file=tmp_path, env={}, flags={})


def test_a_table_hidden_by_a_wrong_value_is_refused(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, "server = 5", env={"BATCHMILL_SERVER__PORT": "1"})
    assert sentence.startswith("server is 5 (file batchmill.toml)")


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    assert len(refusal(tmp_path, f"profile = '{'x' * 10_000}'")) < 200


@pytest.mark.parametrize(
    "text",
    [
        f"{UPSTREAM}url = 'http://x'\napi_key = 'hush hush'",
        f"{UPSTREAM}url = 'http://x'\napi_key = 7777\n# hush",
        f"{UPSTREAM}url = 'http://x'\napi_key_env = 'sk-hush'",
        f"{UPSTREAM}url = 'http://me:hush@x'",
        f"{UPSTREAM}url = 'http://x?key=hush'",
        f"{UPSTREAM}api_key = 'hush'",
        f"{UPSTREAM}url = 'http://x'\napi_key = 'hush'\nweight = -1",
        f"{UPSTREAM}url = 'http://x'\napi_key = 'hush'\nwhat = 1",
        f"{UPSTREAM}url = 'http://x'\napi_key = 'hush'\napi_key_env = 'K'",
        f"{UPSTREAM}url = 'http://x'\napi_key_env = 'K'",
    ],
)
def test_no_refusal_shows_a_secret(tmp_path: Path, text: str) -> None:
    file = tmp_path / "batchmill.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(file=file, env={"K": "hush hush"}, flags={})
    assert "hush" not in caught.value.message
    assert "7777" not in caught.value.message
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_broken_variable_is_not_quoted(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, env={"BATCHMILL_MODELS": '[{"api_key": "hush"'})
    assert "hush" not in sentence


@pytest.mark.parametrize(
    ("setting", "accepted", "refused"),
    [
        ("server.port", ["0", "65535"], ["-1", "65536"]),
        ("limits.max_lines", ["1"], ["0"]),
        ("limits.upload_ttl", ["1", "1s"], ["0", "0s", "1.5"]),
        ("limits.completion_window_max", ["24h"], ["86399"]),
        ("engine.max_rejections", ["0"], ["-1"]),
        ("engine.cancel_grace", ["0", "0.5"], ["-0.1", "inf"]),
        ("engine.backoff_base", ["0.001", "60"], ["0", "60.1"]),
        ("engine.shard_bytes", ["1", "1B"], ["0", "0MB", "1.5MB"]),
    ],
)
def test_bounds_hold_on_both_sides(
    tmp_path: Path, setting: str, accepted: list[str], refused: list[str]
) -> None:
    for value in accepted:
        load_settings(file=None, env={}, flags={setting: value})
    for value in refused:
        refusal(tmp_path, flags={setting: value})
