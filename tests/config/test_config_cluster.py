"""The cluster's settings: what Ray needs besides, and that no secret travels with them."""

from pathlib import Path

import pytest

from batchmill.config import (
    ClusterKind,
    Settings,
    dump_without_secrets,
    load_settings,
    restore_with_secrets,
)
from batchmill.domain.errors import ConfigError

RAY = """
[cluster]
kind = "ray"
"""
DATA = """
[data]
database_env = "DB"
blobs = "s3://bucket/prefix"
"""
MODEL = """
[[models]]
name = "m"
[[models.upstreams]]
url = "http://up/v1"
api_key_env = "KEY"
"""
ENV = {"DB": "postgresql://user:hush@db/batchmill", "KEY": "sk-hidden"}


def load(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> Settings:
    file = tmp_path / "batchmill.toml"
    file.write_text(text)
    return load_settings(file=file, env=ENV if env is None else env, flags={}).settings


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    return caught.value.message


def test_batches_are_worked_off_here_unless_said_otherwise() -> None:
    assert Settings().cluster.kind is ClusterKind.LOCAL
    assert not Settings().runs_elsewhere


def test_ray_with_a_database_and_a_bucket_is_accepted(tmp_path: Path) -> None:
    assert load(tmp_path, RAY + DATA + MODEL).runs_elsewhere


def test_ray_without_a_shared_database_is_refused_with_a_sentence(tmp_path: Path) -> None:
    assert refusal(tmp_path, RAY) == (
        f"cluster.kind is 'ray' (file {tmp_path / 'batchmill.toml'}), but data.database names no "
        "PostgreSQL database, which all machines need to reach."
    )
    sqlite = '[data]\ndatabase = "sqlite:////srv/x.db"\nblobs = "s3://b/p"\n'
    assert "names no PostgreSQL database" in refusal(tmp_path, RAY + sqlite)


@pytest.mark.parametrize("blobs", ["", 'blobs = "memory://x"'])
def test_ray_without_a_bucket_is_refused_with_a_sentence(tmp_path: Path, blobs: str) -> None:
    text = RAY + '[data]\ndatabase_env = "DB"\n' + blobs
    assert "data.blobs names no bucket" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "url", ["postgresql://user:hush@db/x", "postgresql://user@db/x?password=hush"]
)
def test_a_password_in_a_file_is_refused_with_ray_and_not_shown(tmp_path: Path, url: str) -> None:
    text = RAY + f'[data]\ndatabase = "{url}"\nblobs = "s3://b/p"\n'
    sentence = refusal(tmp_path, text)
    assert "data.database is set" in sentence
    assert "data.database_env" in sentence
    assert "hush" not in sentence


def test_a_database_url_without_a_password_may_stand_in_the_file(tmp_path: Path) -> None:
    text = RAY + '[data]\ndatabase = "postgresql://user@db/x"\nblobs = "s3://b/p"\n'
    settings = load(tmp_path, text)
    assert restore_with_secrets(dump_without_secrets(settings), {}) == settings


def test_a_key_in_a_file_is_refused_with_ray_and_not_shown(tmp_path: Path) -> None:
    text = RAY + DATA + MODEL.replace('api_key_env = "KEY"', 'api_key = "sk-literal"')
    sentence = refusal(tmp_path, text)
    assert "api_key_env" in sentence
    assert "sk-literal" not in sentence


@pytest.mark.parametrize(("value", "is_good"), [("5", True), ("4.9", False), ("3601", False)])
def test_the_time_to_fencing_has_bounds(tmp_path: Path, value: str, is_good: bool) -> None:
    text = RAY + f"fence_after = {value}\n" + DATA
    if is_good:
        assert load(tmp_path, text).cluster.fence_after == float(value)
    else:
        assert "from 5 to 3600" in refusal(tmp_path, text)


def test_settings_travel_without_secrets_and_are_completed_where_they_arrive(
    tmp_path: Path,
) -> None:
    settings = load(tmp_path, RAY + DATA + MODEL)
    letter = dump_without_secrets(settings)
    assert b"hush" not in letter
    assert b"sk-hidden" not in letter
    there = {"DB": "postgresql://other:secret@db/batchmill", "KEY": "sk-other"}
    restored = restore_with_secrets(letter, there)
    database, key = restored.data.database, restored.models[0].upstreams[0].api_key
    assert database is not None
    assert key is not None
    assert database.get_secret_value() == there["DB"]
    assert key.get_secret_value() == "sk-other"
    assert restored.cluster == settings.cluster


def test_a_machine_that_lacks_a_variable_says_which(tmp_path: Path) -> None:
    letter = dump_without_secrets(load(tmp_path, RAY + DATA + MODEL))
    with pytest.raises(ConfigError, match="environment variable KEY is not set"):
        restore_with_secrets(letter, {"DB": ENV["DB"]})
