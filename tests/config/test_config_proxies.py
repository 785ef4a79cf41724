"""What sends the requests to an upstream, and the proxy on the way."""

from pathlib import Path

import pytest

from batchmill.config import (
    TransportKind,
    UpstreamSettings,
    dump_without_secrets,
    list_settings,
    load_settings,
    restore_with_secrets,
)
from batchmill.domain.errors import ConfigError

UPSTREAM = '[[models]]\nname = "m"\n[[models.upstreams]]\nurl = "http://x"\n'
AIOHTTP = f'{UPSTREAM}transport = "aiohttp"\n'
PROXY = f'{AIOHTTP}proxy = "http://proxy.internal:3128"\n'
AT = "models.0.upstreams.0"
ENV = {"LOGIN": "carol:hush"}


def load(tmp_path: Path, text: str) -> UpstreamSettings:
    file = tmp_path / "batchmill.toml"
    file.write_text(text)
    return load_settings(file=file, env=ENV, flags={}).settings.models[0].upstreams[0]


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert "hush" not in caught.value.message
    return caught.value.message


def test_our_own_client_is_used_unless_something_else_is_said(tmp_path: Path) -> None:
    assert load(tmp_path, UPSTREAM).transport is TransportKind.HTTPTOOLS
    assert load(tmp_path, AIOHTTP).transport is TransportKind.AIOHTTP


def test_an_unknown_transport_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, f'{UPSTREAM}transport = "curl"')
    assert said.startswith(f"{AT}.transport is 'curl'")
    assert said.endswith("must be httptools or aiohttp.")


@pytest.mark.parametrize("url", ["http://proxy", "http://10.0.0.5:3128", "http://[::1]:80/"])
def test_a_proxy_is_named_by_its_url(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, f'{AIOHTTP}proxy = "{url}"').proxy == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "proxy:3128",
        "https://proxy",
        "socks5://proxy",
        "http://proxy:0",
        "http://proxy:65536",
        "http://carol:hush@proxy",
        "http://proxy/path",
        "http://proxy?key=hush",
        "http://pro xy",
        "http://",
    ],
)
def test_what_is_no_proxy_is_refused(tmp_path: Path, url: str) -> None:
    said = refusal(tmp_path, f'{AIOHTTP}proxy = "{url}"')
    assert said.startswith(f"{AT}.proxy is ")
    assert "must be an http URL such as http://proxy.internal:3128" in said


def test_a_proxy_needs_the_transport_that_knows_it(tmp_path: Path) -> None:
    said = refusal(tmp_path, f'{UPSTREAM}proxy = "http://proxy"')
    assert said == (
        f"{AT}.proxy is 'http://proxy' (file {tmp_path / 'batchmill.toml'}), but only the "
        'transport "aiohttp" knows proxies: set transport = "aiohttp" beside it.'
    )


@pytest.mark.parametrize("line", ['proxy_auth_env = "LOGIN"', 'proxy_auth = "carol:hush"'])
def test_a_login_is_taken_from_its_variable_or_as_it_stands(tmp_path: Path, line: str) -> None:
    login = load(tmp_path, PROXY + line).proxy_auth
    assert login is not None
    assert login.get_secret_value() == "carol:hush"
    assert "there is no proxy to go with it" in refusal(tmp_path, AIOHTTP + line)


@pytest.mark.parametrize("login", ["carol", ":hush", "carol:hush\\n", ""])
def test_a_login_has_a_user_and_a_password(tmp_path: Path, login: str) -> None:
    said = refusal(tmp_path, f'{PROXY}proxy_auth = "{login}"')
    assert said.startswith(f"{AT}.proxy_auth is set (file")
    assert "a user and a password with : between" in said


def test_an_empty_password_is_one(tmp_path: Path) -> None:
    assert load(tmp_path, f'{PROXY}proxy_auth = "c:"').proxy_auth is not None


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('proxy_auth_env = "UNSET"', "the environment variable UNSET is not set"),
        ('proxy_auth_env = "LOGIN"\nproxy_auth = "a:hush"', "proxy_auth is set too: keep one"),
        ('proxy_auth_env = "PATHS"', "the environment variable PATHS holds something else"),
    ],
)
def test_a_variable_that_holds_no_login_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, told: str
) -> None:
    monkeypatch.setitem(ENV, "PATHS", "hush")
    said = refusal(tmp_path, PROXY + lines)
    assert said.startswith(f"{AT}.proxy_auth_env is set (file")
    assert told in said


def test_the_list_of_settings_hides_the_login(tmp_path: Path) -> None:
    file = tmp_path / "batchmill.toml"
    file.write_text(f'{PROXY}proxy_auth_env = "LOGIN"')
    listed = {one.name: one for one in list_settings(load_settings(file=file, env=ENV, flags={}))}
    assert listed[f"{AT}.proxy_auth"].text == "**********"
    assert listed[f"{AT}.proxy_auth"].origin == "environment LOGIN"
    assert listed[f"{AT}.proxy"].text == "http://proxy.internal:3128"
    assert not any("hush" in f"{one.value}{one.text}" for one in listed.values())


def test_a_login_travels_to_no_other_machine(tmp_path: Path) -> None:
    ray = '[cluster]\nkind = "ray"\n[data]\ndatabase_env = "DB"\nblobs = "s3://b/p"\n'
    env = {**ENV, "DB": "postgresql://u@db/x"}
    file = tmp_path / "batchmill.toml"
    file.write_text(f'{ray}{PROXY}proxy_auth_env = "LOGIN"')
    settings = load_settings(file=file, env=env, flags={}).settings
    letter = dump_without_secrets(settings)
    assert b"hush" not in letter
    assert restore_with_secrets(letter, env) == settings
    file.write_text(f'{ray}{PROXY}proxy_auth = "carol:hush"')
    with pytest.raises(ConfigError, match="name a variable in proxy_auth_env") as caught:
        load_settings(file=file, env=env, flags={})
    assert "hush" not in caught.value.message
