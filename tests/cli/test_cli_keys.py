"""``batchmill keys|accounts|workspaces``: administration on the machine itself."""

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from typer.testing import CliRunner, Result

from batchmill.cli.main import make_app
from batchmill.config import DataSettings, Settings, load_settings
from batchmill.domain.account import OPERATOR, Key, prefix_of
from batchmill.store import open_store
from batchmill.wiring.admin import can_administer
from batchmill.wiring.parts import Paths

T = TypeVar("T")


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of whoever runs the tests counts, and the working folder is empty."""
    for name in ("BATCHMILL_CONFIG", "BATCHMILL_DATA__DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def say(*words: str, folder: Path | None = None) -> Result:
    where = [] if folder is None else ["--data-dir", str(folder)]
    return CliRunner().invoke(make_app(["accounts", "keys"]), [*words, *where])


def tell(*words: str, folder: Path | None = None) -> str:
    """What a command that goes well prints on stdout."""
    result = say(*words, folder=folder)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refuse(*words: str, folder: Path | None = None) -> str:
    """The sentence of a command that is refused."""
    result = say(*words, folder=folder)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("batchmill: ")
    assert "Traceback" not in result.stderr
    return result.stderr


def stored(folder: Path, account: str = OPERATOR) -> list[Key]:
    async def main() -> list[Key]:
        store = await open_store(Paths(folder).database)
        try:
            return list(await store.keys.list(account))
        finally:
            await store.close()

    return asyncio.run(main())


def run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)


def test_a_new_key_is_all_that_stdout_gets(tmp_path: Path) -> None:
    result = say("keys", "create", "--admin", folder=tmp_path)
    secret = result.stdout.removesuffix("\n")
    (key,) = stored(tmp_path)
    assert key.matches(secret)
    assert key.prefix == prefix_of(secret)
    assert (key.role, key.account, key.name) == ("admin", OPERATOR, "admin")
    assert key.id in result.stderr
    assert str(tmp_path) in result.stderr
    assert secret[15:] not in result.stderr


def test_the_audit_log_knows_who_sat_at_the_machine(tmp_path: Path) -> None:
    tell("keys", "create", folder=tmp_path)

    async def main() -> list[str]:
        store = await open_store(Paths(tmp_path).database)
        try:
            page = await store.audit.list(OPERATOR, limit=9)
            return [f"{deed.actor} {deed.action}" for deed in page.items]
        finally:
            await store.close()

    assert asyncio.run(main()) == ["machine key.created"]


def test_a_key_is_made_as_it_is_asked_for(tmp_path: Path) -> None:
    acme = tell("accounts", "create", "Acme", folder=tmp_path).strip()
    room = tell("workspaces", "create", "Lab", "--account", acme, folder=tmp_path).strip()
    words = ["--account", acme, "--workspace", room, "--role", "read-only", "--name", "ci"]
    tell("keys", "create", *words, "-m", "a", "--model", "b", "--expires", "90d", folder=tmp_path)
    (key,) = stored(tmp_path, acme)
    assert (key.role, key.name, key.workspace) == ("read-only", "ci", room)
    assert key.models == ("a", "b")
    assert key.expires_at is not None
    assert key.expires_at - key.created_at == 90 * 86_400


def test_a_script_may_have_the_answer_of_the_api(tmp_path: Path) -> None:
    made = json.loads(tell("keys", "create", "--json", folder=tmp_path))
    (key,) = stored(tmp_path)
    assert key.matches(made["key"])
    listed = json.loads(tell("keys", "list", "--json", folder=tmp_path))
    assert [one["id"] for one in listed["data"]] == [key.id]
    assert "key" not in listed["data"][0]
    for noun in ("accounts", "workspaces"):
        data = json.loads(tell(noun, "list", "--json", folder=tmp_path))["data"]
        assert [one["name"] for one in data] == ["Default"]


def test_lists_say_how_each_key_stands(tmp_path: Path) -> None:
    tell("keys", "create", "--name", "gone", folder=tmp_path)
    (gone,) = stored(tmp_path)
    tell("keys", "create", "--name", "short", "--expires", "12h", folder=tmp_path)
    tell("keys", "create", "--name", "long", folder=tmp_path)
    tell("keys", "revoke", gone.id, folder=tmp_path)
    rows = [line.split("\t") for line in tell("keys", "list", folder=tmp_path).splitlines()]
    states = {row[2]: row[5].split(" 2")[0] for row in rows}
    assert states == {"gone": "revoked", "short": "good until", "long": "good"}


def settings_in(folder: Path) -> Settings:
    return Settings(data=DataSettings(dir=folder))


def test_revoking_the_last_admin_key_says_how_to_get_in_again(tmp_path: Path) -> None:
    tell("keys", "create", "--admin", folder=tmp_path)
    tell("keys", "create", "--admin", folder=tmp_path)
    first, second = stored(tmp_path)
    assert "no admin key left" not in say("keys", "revoke", first.id, folder=tmp_path).stderr
    assert run(can_administer(settings_in(tmp_path)))
    assert "no admin key left" in say("keys", "revoke", second.id, folder=tmp_path).stderr
    assert not run(can_administer(settings_in(tmp_path)))
    assert all(key.revoked_at for key in stored(tmp_path))


def test_only_admin_keys_of_the_operator_administer_the_server(tmp_path: Path) -> None:
    assert not run(can_administer(settings_in(tmp_path)))
    acme = tell("accounts", "create", "Acme", folder=tmp_path).strip()
    tell("keys", "create", "--admin", "--account", acme, folder=tmp_path)
    tell("keys", "create", "--role", "member", folder=tmp_path)
    assert not run(can_administer(settings_in(tmp_path)))
    tell("keys", "create", "--role", "admin", folder=tmp_path)
    assert run(can_administer(settings_in(tmp_path)))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["create", "--admin", "--role", "member"], "--admin"),
        (["create", "--expires", "3"], "--expires"),
        (["create", "--expires", "soon"], "--expires"),
        (["create", "--model", "a"], "default workspace"),
        (["create", "--name", ""], "name"),
        (["create", "--account", "acct_none"], "acct_none"),
        (["create", "--workspace", "ws_none"], "ws_none"),
        (["list", "--account", "acct_none"], "acct_none"),
        (["revoke", "key_none"], "key_none"),
        (["revoke", "key_none", "--account", "acct_none"], "acct_none"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    tmp_path: Path, words: list[str], why: str
) -> None:
    tell("keys", "create", folder=tmp_path)
    assert why in refuse("keys", *words, folder=tmp_path)
    assert len(stored(tmp_path)) == 1


def test_looking_makes_no_data_folder(tmp_path: Path) -> None:
    folder = tmp_path / "typo"
    for words in (["keys", "list"], ["accounts", "list"], ["keys", "revoke", "key_1"]):
        assert str(folder) in refuse(*words, folder=folder)
    assert not folder.exists()


def test_the_folder_is_that_of_the_settings(tmp_path: Path) -> None:
    config = tmp_path / "batchmill.toml"
    config.write_text('[data]\ndir = "there"\n')
    tell("keys", "create", "--config", str(config))
    folder = load_settings(file=config, env={}, flags={}).settings.data.dir
    assert len(stored(folder)) == 1
    config.write_text("[data]\nwhere = 1\n")
    assert "where" in refuse("keys", "list", "--config", str(config))
