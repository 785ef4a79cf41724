"""``[data]``: where the database and the files are, and that no secret of them is shown."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from batchmill.config import (
    Loaded,
    Settings,
    dump_settings,
    list_settings,
    load_settings,
    public_url,
    restore_settings,
)
from batchmill.domain.errors import ConfigError

HUSH = "h%40sh-hush"
SERVER = f"postgresql://me:{HUSH}@db.internal:5433/mill?sslmode=verify-full"
UNESCAPED = "postgresql://me:hu/sh@db/mill"


def load(text: str, folder: Path, env: Mapping[str, str] | None = None, **flags: object) -> Loaded:
    file = folder / "batchmill.toml"
    file.write_text(text)
    return load_settings(file=file, env=env or {}, flags=flags)


def refusal(text: str, folder: Path, env: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, folder, env)
    assert caught.value.__context__ is None
    return caught.value.message


def database(settings: Settings) -> str | None:
    url = settings.data.database
    return None if url is None else url.get_secret_value()


def test_without_a_word_everything_is_in_the_folder() -> None:
    data = Settings().data
    assert (data.database, data.blobs, dict(data.blob_options)) == (None, None, {})
    assert not data.is_shared


@pytest.mark.parametrize(
    ("url", "is_shared"),
    [
        (SERVER, True),
        ("postgres:///mill?host=/run/postgresql", True),
        ("postgresql+asyncpg://h/d", True),
        ("sqlite:////srv/mill.db", False),
        ("sqlite:///mill.db", False),
        ("sqlite+aiosqlite:///mill.db", False),
    ],
)
def test_a_database_may_be_a_server_or_a_file(url: str, *, is_shared: bool) -> None:
    settings = load_settings(file=None, env={"BATCHMILL_DATA__DATABASE": url}, flags={}).settings
    assert database(settings) == url
    assert settings.data.is_shared is is_shared


@pytest.mark.parametrize(
    "url",
    [
        "mysql://h/hush",
        "hush.db",
        "postgresql://h-hush",
        "postgresql://h:0/hush",
        "postgresql://h:x/hush",
        UNESCAPED,
        "postgresql://me:12?hush@h/d",
        "postgresql://me:12#hush@h/d",
        "postgresql://h/hush hush",
        "sqlite://h/hush",
        "sqlite://",
        "",
    ],
)
def test_what_cannot_be_a_database_is_refused_and_not_shown(url: str, tmp_path: Path) -> None:
    by_file = refusal(f"[data]\ndatabase = {url!r}", tmp_path)
    assert by_file.startswith("data.database is set (file ")
    assert "postgresql://user@host:5432/name" in by_file
    by_name = refusal("[data]\ndatabase_env = 'MILL'", tmp_path, {"MILL": url})
    assert by_name.startswith("data.database_env is set (file ")
    assert "hush" not in by_file + by_name


def test_the_url_is_read_from_the_variable_that_is_named(tmp_path: Path) -> None:
    loaded = load("[data]\ndatabase_env = 'MILL'", tmp_path, {"MILL": SERVER})
    assert database(loaded.settings) == SERVER
    assert loaded.settings.data.is_shared
    assert loaded.origins["data.database"] == "environment MILL"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("database_env = 'UNSET'", "the environment variable UNSET is not set"),
        (f"database_env = 'MILL'\ndatabase = {SERVER!r}", "data.database is set too"),
        (f"database_env = {SERVER!r}", "must be the name of an environment variable"),
    ],
)
def test_a_variable_must_be_there_and_alone(text: str, problem: str, tmp_path: Path) -> None:
    sentence = refusal(f"[data]\n{text}", tmp_path, {"MILL": SERVER})
    assert problem in sentence
    assert HUSH not in sentence


def test_no_view_of_the_settings_shows_the_url(tmp_path: Path) -> None:
    loaded = load(f"[data]\ndatabase = {SERVER!r}", tmp_path)
    settings = loaded.settings
    shown = [f"{entry.value} {entry.text}" for entry in list_settings(loaded)]
    views = (repr(settings), settings.model_dump_json(), repr(settings.model_dump()), *shown)
    assert not [view for view in views if HUSH in view]
    assert database(restore_settings(dump_settings(settings))) == SERVER


def test_a_greeting_tells_the_place_alone() -> None:
    assert public_url(SERVER) == "postgresql://db.internal:5433/mill"
    assert public_url("sqlite:////srv/mill.db") == "sqlite:////srv/mill.db"
    assert public_url("s3://bucket/prefix") == "s3://bucket/prefix"


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/a/b", "gs://b/p", "az://box/p"])
def test_bytes_may_be_in_a_bucket(url: str, tmp_path: Path) -> None:
    assert load(f"[data]\nblobs = '{url}/'", tmp_path).settings.data.blobs == url


@pytest.mark.parametrize(
    "url",
    [
        "bucket",
        "https://bucket/p",
        "s3://",
        "s3:///p",
        "s3://key:hush@bucket/p",
        "s3://bucket/p?hush=1",
        "s3://bucket/../p",
        "s3://bucket//p",
        "s3://bucket:80/p",
    ],
)
def test_what_cannot_be_a_bucket_is_refused(url: str, tmp_path: Path) -> None:
    sentence = refusal(f"[data]\nblobs = '{url}'", tmp_path)
    assert sentence.startswith("data.blobs is ")
    assert "hush" not in sentence


BUCKET = "[data]\nblobs = 's3://bucket'\n[data.blob_options]\n"


def test_options_come_from_the_file_or_all_at_once_from_a_variable(tmp_path: Path) -> None:
    text = f"{BUCKET}endpoint = 'http://10.0.0.9:9000'\nregion = 'eu'"
    loaded = load(text, tmp_path)
    assert loaded.settings.data.blob_options == {"endpoint": "http://10.0.0.9:9000", "region": "eu"}
    assert loaded.origins["data.blob_options.region"].startswith("file ")
    again = load(text, tmp_path, {"BATCHMILL_DATA__BLOB_OPTIONS": "endpoint=http://x?a=b, r=1"})
    assert again.settings.data.blob_options == {"endpoint": "http://x?a=b", "r": "1"}
    assert again.origins["data.blob_options.r"] == "environment BATCHMILL_DATA__BLOB_OPTIONS"
    shown = {entry.name: entry.text for entry in list_settings(again)}
    assert shown["data.blob_options.endpoint"] == "http://x?a=b"
    assert restore_settings(dump_settings(again.settings)) == again.settings


@pytest.mark.parametrize(
    "name",
    [
        "access_key_id",
        "aws_secret_access_key",
        "AWS_SESSION_TOKEN",
        "token",
        "sas_key",
        "sas_token",
        "account_key",
        "client_secret",
        "service_account_key",
        "password",
    ],
)
def test_a_secret_among_the_options_is_sent_to_the_environment(name: str, tmp_path: Path) -> None:
    sentence = refusal(f"{BUCKET}{name} = 'hush'", tmp_path)
    assert sentence.startswith(f"data.blob_options.{name} is set (file ")
    assert "AWS_ACCESS_KEY_ID" in sentence
    assert "hush" not in sentence


@pytest.mark.parametrize(
    "name",
    ["endpoint", "region", "sse_kms_key_id", "bucket_key_enabled", "federated_token_file", "tasks"],
)
def test_an_option_that_only_sounds_like_a_secret_is_taken(name: str, tmp_path: Path) -> None:
    assert load(f"{BUCKET}{name} = 'x'", tmp_path).settings.data.blob_options == {name: "x"}


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (f"{BUCKET}endpoint = 'http://me:hush@h'", "data.blob_options.endpoint is set (file "),
        (f"{BUCKET}timeout = 5", "data.blob_options.timeout is set (file "),
        ("[data.blob_options]\nregion = 'eu'", "data.blob_options is set (file "),
    ],
)
def test_other_options_that_make_no_sense_are_refused(
    text: str, start: str, tmp_path: Path
) -> None:
    sentence = refusal(text, tmp_path)
    assert sentence.startswith(start), sentence
    assert "hush" not in sentence
