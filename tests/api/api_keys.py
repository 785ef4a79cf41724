"""A house whose door asks for keys, and keys to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from api_house import House, client_of, open_house
from fastapi import FastAPI

from batchmill.api.hosts import ANY
from batchmill.api.identity import Doorkeeper
from batchmill.domain.account import OPERATOR, Role
from batchmill.service.administration import Administration, make_administration
from batchmill.service.caller import MACHINE, Caller
from batchmill.service.identity import Identity
from batchmill.service.keys import KeySpec, NewKey

WHO = Caller(actor=MACHINE)


@asynccontextmanager
async def open_locked(root: Path, **more: Any) -> AsyncIterator[House]:
    """A house that is closed to who has no key."""
    async with open_house(root, allowed_hosts=(ANY,), **more) as house:
        lock(house.app, house)
        yield house


def lock(app: FastAPI, house: House) -> None:
    """Let an application of the house ask for keys."""
    app.state.admit = Doorkeeper(Identity(store=house.store, clock=house.clock).identify)


def admin_of(house: House) -> Administration:
    """Administration on the machine itself."""
    return make_administration(house.store, house.clock)


async def new_account(house: House, name: str) -> str:
    """The id of a new account."""
    return (await admin_of(house).accounts.create(WHO, name)).id


async def new_workspace(house: House, account: str = OPERATOR) -> str:
    """The id of a new workspace, which is not the account's default one."""
    return (await admin_of(house).workspaces.create(WHO, "Lab", account)).id


async def new_key(house: House, role: Role = Role.ADMIN, **more: Any) -> NewKey:
    """A new key; ``more`` are fields of KeySpec."""
    spec = KeySpec(name=f"a {role} key", role=role, **more)
    return await admin_of(house).keys.create(WHO, spec)


@asynccontextmanager
async def as_holder(house: House, secret: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that sends a key with every request."""
    async with client_of(house.app) as client:
        client.headers["authorization"] = f"Bearer {secret}"
        yield client


def bearer(secret: str) -> dict[str, str]:
    """The header with a key."""
    return {"authorization": f"Bearer {secret}"}
