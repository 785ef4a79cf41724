"""``batchmill keys``: the keys of a server, made, listed and revoked on its own machine.

``create`` prints the new key and nothing else on stdout, so that a script can
take it from there: ``KEY=$(batchmill keys create --admin)``. What else there is
to say goes to stderr, without the secret.
"""

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from batchmill.api import wire
from batchmill.cli.client_view import show_time
from batchmill.cli.config_show import AsJson, ConfigFile
from batchmill.cli.machine import (
    WHO,
    DataDir,
    OfAccount,
    act,
    look,
    place_of,
    settings_of,
    show,
    show_table,
)
from batchmill.cli.streams import one_sentence, say
from batchmill.domain.account import OPERATOR, Key, Role
from batchmill.domain.errors import InvalidRequest
from batchmill.domain.limits import parse_duration
from batchmill.service.administration import Administration
from batchmill.service.keys import KeySpec

_COLUMNS = ("id", "prefix", "name", "role", "workspace", "state", "last used", "models")


def register(app: typer.Typer) -> None:
    """Add ``keys`` to the command line."""
    keys = typer.Typer(help="Make, list and revoke the server's keys.", no_args_is_help=True)
    keys.command("create")(create_key)
    keys.command("list")(list_keys)
    keys.command("revoke")(revoke_key)
    app.add_typer(keys, name="keys")


def create_key(
    is_admin: Annotated[
        bool, typer.Option("--admin", help="Make an admin key; the same as --role admin.")
    ] = False,
    role: Annotated[
        Role | None, typer.Option(help="What the key may do; member if absent.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="1 to 100 printable characters; the role if absent.")
    ] = None,
    account: OfAccount = OPERATOR,
    workspace: Annotated[
        str | None, typer.Option(metavar="ID", help="The account's default one if absent.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="A model that the key may call; repeatable."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="From now, such as 12h or 90d.")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once: only its digest is kept."""
    with one_sentence():
        wanted = _read_role(role, is_admin=is_admin)
        spec = KeySpec(
            name=wanted.value if name is None else name,
            role=wanted,
            account=account,
            workspace=workspace,
            models=tuple(model) if model else None,
            expires_in=None if expires is None else _read_time(expires),
        )
        settings = settings_of(config, data_dir)
        made = act(settings, lambda admin: admin.keys.create(WHO, spec))
    show(wire.new_key_object(made), made.secret, as_json=as_json)
    key = made.key
    say(
        f"Key {key.id} ({key.role}, {key.workspace} of account {key.account}) was made in "
        f"{place_of(settings)}. Keep it: it is not shown again. Clients take it from "
        "BATCHMILL_API_KEY."
    )


def list_keys(
    account: OfAccount = OPERATOR,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the keys of an account, oldest first, revoked and expired ones among them."""
    with one_sentence():
        settings = settings_of(config, data_dir)
        found = look(settings, lambda admin: admin.keys.list(WHO, account))
    now = time.time()
    show_table(wire.key_list(found), _COLUMNS, [_row(key, now) for key in found], as_json=as_json)


def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, not the key.")],
    account: OfAccount = OPERATOR,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Shut a key out, from its next request on."""

    async def revoke(admin: Administration) -> tuple[Key, bool]:
        key = await admin.keys.revoke(WHO, key_id, account)
        return key, await admin.keys.can_administer()

    with one_sentence():
        key, has_admin = look(settings_of(config, data_dir), revoke)
    say(f"Key {key.id} ({key.name}) is revoked.")
    if not has_admin:
        say("The server has no admin key left: batchmill keys create --admin makes one.")


def _read_role(role: Role | None, *, is_admin: bool) -> Role:
    if is_admin and role not in (None, Role.ADMIN):
        raise InvalidRequest(f"Give --admin or --role {role}, not both.")
    return Role.ADMIN if is_admin else role or Role.MEMBER


def _read_time(text: str) -> int:
    seconds = parse_duration(text)
    if seconds is None:
        raise InvalidRequest("Invalid --expires: write a whole number with s, m, h or d, as 90d.")
    return seconds


def _row(key: Key, now: float) -> Sequence[str]:
    return (
        key.id,
        key.prefix,
        key.name,
        key.role,
        key.workspace,
        _state(key, now),
        "never" if key.last_used_at is None else show_time(key.last_used_at),
        "all" if key.models is None else ", ".join(key.models),
    )


def _state(key: Key, now: float) -> str:
    if key.revoked_at is not None:
        return f"revoked {show_time(key.revoked_at)}"
    if key.expires_at is None:
        return "good"
    return f"{'good until' if key.is_usable(now) else 'expired'} {show_time(key.expires_at)}"
