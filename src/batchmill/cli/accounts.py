"""``batchmill accounts`` and ``batchmill workspaces``: who is billed, and for which room."""

import typer

from batchmill.api import wire
from batchmill.cli.client_view import show_time
from batchmill.cli.config_show import AsJson, ConfigFile
from batchmill.cli.machine import WHO, DataDir, OfAccount, act, look, settings_of, show, show_table
from batchmill.cli.streams import one_sentence, say
from batchmill.domain.account import OPERATOR


def register(app: typer.Typer) -> None:
    """Add ``accounts`` and ``workspaces`` to the command line."""
    accounts = typer.Typer(help="Make and list accounts: who is billed.", no_args_is_help=True)
    accounts.command("create")(create_account)
    accounts.command("list")(list_accounts)
    app.add_typer(accounts, name="accounts")
    workspaces = typer.Typer(
        help="Make and list workspaces: the rooms of an account.", no_args_is_help=True
    )
    workspaces.command("create")(create_workspace)
    workspaces.command("list")(list_workspaces)
    app.add_typer(workspaces, name="workspaces")


def create_account(
    name: str, config: ConfigFile = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Make an account with a default workspace, and print its id."""
    with one_sentence():
        settings = settings_of(config, data_dir)
        account = act(settings, lambda admin: admin.accounts.create(WHO, name))
    show(wire.account_object(account), account.id, as_json=as_json)
    say(f"Its first key: batchmill keys create --admin --account {account.id}")


def list_accounts(
    config: ConfigFile = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List the accounts, oldest first."""
    with one_sentence():
        found = look(settings_of(config, data_dir), lambda admin: admin.accounts.list())
    rows = [(one.id, one.name, show_time(one.created_at)) for one in found]
    show_table(wire.account_list(found), ("id", "name", "created"), rows, as_json=as_json)


def create_workspace(
    name: str,
    account: OfAccount = OPERATOR,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a workspace, and print its id."""
    with one_sentence():
        settings = settings_of(config, data_dir)
        made = act(settings, lambda admin: admin.workspaces.create(WHO, name, account))
    show(wire.workspace_object(made), made.id, as_json=as_json)


def list_workspaces(
    account: OfAccount = OPERATOR,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the workspaces of an account, oldest first."""
    with one_sentence():
        settings = settings_of(config, data_dir)
        found = look(settings, lambda admin: admin.workspaces.list(WHO, account))
    rows = [
        (one.id, one.name, "default" if one.is_default else "-", show_time(one.created_at))
        for one in found
    ]
    columns = ("id", "name", "default", "created")
    show_table(wire.workspace_list(found), columns, rows, as_json=as_json)
