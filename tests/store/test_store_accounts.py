"""Accounts, workspaces, keys and their audit entries, for every database."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from store_cases import T0, with_store

from batchmill.domain.account import (
    OPERATOR,
    OPERATOR_WORKSPACE,
    Account,
    Deed,
    Key,
    Role,
    Workspace,
)
from batchmill.ports import CursorUnknown, Store

ACME = Account("acct_acme", "Acme", T0)
ROOM = Workspace("ws_acme", ACME.id, "Default", is_default=True, created_at=T0)


def a_key(name: str = "1", **changes: Any) -> Key:
    key = Key(
        id=f"key_{name}",
        account=ACME.id,
        workspace=ROOM.id,
        name=f"Key {name}",
        role=Role.MEMBER,
        prefix=f"sk-bm-{name:>08}",
        digest="d" * 64,
        created_at=T0,
    )
    return replace(key, **changes)


def a_deed(name: str = "1", **changes: Any) -> Deed:
    deed = Deed(f"deed_{name}", ACME.id, "machine", "key.created", f"key_{name}", T0)
    return replace(deed, **changes)


async def deeds(store: Store, account: str = ACME.id) -> list[str]:
    page = await store.audit.list(account, limit=100)
    return [f"{deed.action} {deed.target}" for deed in page.items]


async def with_acme(store: Store) -> None:
    deed = a_deed("account", action="account.created", target=ACME.id)
    await store.accounts.add(ACME, ROOM, deed)


@with_store
async def test_a_new_database_has_the_operators_account_alone(store: Store) -> None:
    (operator,) = await store.accounts.list()
    assert operator.id == OPERATOR
    (room,) = await store.workspaces.list(OPERATOR)
    assert (room.id, room.is_default) == (OPERATOR_WORKSPACE, True)
    assert await store.keys.list(OPERATOR) == []


@with_store
async def test_an_account_comes_with_its_workspace_and_its_entry(store: Store) -> None:
    await with_acme(store)
    assert await store.accounts.get(ACME.id) == ACME
    assert await store.accounts.get("acct_none") is None
    assert [one.id for one in await store.accounts.list()] == [OPERATOR, ACME.id]
    assert await store.workspaces.get(ACME.id, ROOM.id) == ROOM
    assert await deeds(store) == [f"account.created {ACME.id}"]


@with_store
async def test_an_account_that_cannot_be_stored_leaves_no_entry(store: Store) -> None:
    await with_acme(store)
    with pytest.raises(IntegrityError):
        await store.accounts.add(ACME, replace(ROOM, id="ws_2"), a_deed("2"))
    assert await store.workspaces.list(ACME.id) == [ROOM]
    assert len(await deeds(store)) == 1


@with_store
async def test_workspaces_are_their_accounts_alone(store: Store) -> None:
    await with_acme(store)
    lab = Workspace("ws_lab", ACME.id, "Lab ä😀", is_default=False, created_at=T0 + 1)
    await store.workspaces.add(lab, a_deed("lab", action="workspace.created", target=lab.id))
    assert await store.workspaces.list(ACME.id) == [ROOM, lab]
    assert await store.workspaces.get(ACME.id, lab.id) == lab
    assert await store.workspaces.get(OPERATOR, lab.id) is None
    assert "workspace.created ws_lab" in await deeds(store)


@with_store
async def test_a_key_comes_back_as_it_was_added(store: Store) -> None:
    await with_acme(store)
    plain = a_key("1")
    limited = a_key("2", models=("a", "Qwen/ä"), role=Role.READ_ONLY, expires_at=T0 + 0.5)
    for key in (plain, limited):
        await store.keys.add(key, a_deed(key.id))
    assert await store.keys.list(ACME.id) == [plain, limited]
    assert await store.keys.find(limited.prefix) == limited
    assert await store.keys.get(ACME.id, limited.id) == limited
    assert await store.keys.find("sk-bm-nobody") is None


@with_store
async def test_a_key_is_its_accounts_alone(store: Store) -> None:
    await with_acme(store)
    await store.keys.add(a_key(), a_deed())
    assert await store.keys.get(OPERATOR, "key_1") is None
    assert await store.keys.list(OPERATOR) == []
    assert await store.keys.revoke(OPERATOR, "key_1", a_deed("2")) is None
    assert await store.keys.find(a_key().prefix) == a_key()
    assert len(await deeds(store)) == 2


@with_store
async def test_a_key_is_revoked_once_and_told_of_once(store: Store) -> None:
    await with_acme(store)
    await store.keys.add(a_key(), a_deed())
    revocations = [
        store.keys.revoke(ACME.id, "key_1", a_deed(f"r{n}", action="key.revoked", at=T0 + n))
        for n in (5, 6, 7)
    ]
    answers = await asyncio.gather(*revocations)
    assert len({key.revoked_at for key in answers if key}) == 1
    assert (await store.keys.find(a_key().prefix)) == answers[0]
    assert len([told for told in await deeds(store) if "revoked" in told]) == 1


@with_store
async def test_the_last_use_only_moves_forward(store: Store) -> None:
    await with_acme(store)
    await store.keys.add(a_key(), a_deed())
    for at, kept in ((T0 + 5, T0 + 5), (T0 + 3, T0 + 5), (T0 + 9, T0 + 9)):
        await store.keys.touch("key_1", at)
        key = await store.keys.get(ACME.id, "key_1")
        assert key is not None
        assert key.last_used_at == kept


@with_store
async def test_the_audit_log_is_read_page_by_page_newest_first(store: Store) -> None:
    for n in range(5):
        await store.audit.add(a_deed(str(n), at=T0 + n // 2))
    await store.audit.add(a_deed("other", account=OPERATOR))
    first = await store.audit.list(ACME.id, limit=3)
    assert [deed.id for deed in first.items] == ["deed_4", "deed_3", "deed_2"]
    assert first.has_more
    rest = await store.audit.list(ACME.id, limit=3, after="deed_2")
    assert [deed.id for deed in rest.items] == ["deed_1", "deed_0"]
    assert not rest.has_more
    with pytest.raises(CursorUnknown):
        await store.audit.list(ACME.id, limit=3, after="deed_other")
