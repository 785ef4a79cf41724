"""The verbs of files: ``batchmill files upload | list | show | delete | download``."""

from typing import Annotated, Final

import typer

from batchmill.cli.client_http import decode, segment
from batchmill.cli.client_listing import gather
from batchmill.cli.client_model import File
from batchmill.cli.client_results import Targets, fetch_file
from batchmill.cli.client_session import DEFAULT_SERVER, AsJson, Key, ServerUrl, World
from batchmill.cli.client_source import open_jsonl
from batchmill.cli.client_submit import upload
from batchmill.cli.client_view import (
    FILE_COLUMNS,
    file_row,
    print_json,
    print_object,
    print_rows,
)
from batchmill.cli.streams import STDIO, say

FileId = Annotated[str, typer.Argument(metavar="ID", help="The file's id.")]

_DEFAULT_LIMIT: Final = 20


class FileVerbs:
    """The verbs, in a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def register(self, app: typer.Typer) -> None:
        """Add ``files`` and its verbs to ``app``."""
        commands = typer.Typer(help="Files on a server.", no_args_is_help=True)
        commands.command("upload")(self.upload)
        commands.command("list")(self.list_files)
        commands.command("show")(self.show)
        commands.command("delete")(self.delete)
        commands.command("download")(self.download)
        app.add_typer(commands, name="files")

    def upload(
        self,
        file: Annotated[str, typer.Argument(metavar="IN.JSONL", help="The file; - is stdin.")],
        server: ServerUrl = DEFAULT_SERVER,
        key: Key = None,
        as_json: AsJson = False,
    ) -> None:
        """Upload an input file and print its id; `batchmill submit ID` makes a batch of it."""
        with self._world.talk(server, key) as api:
            with open_jsonl(file) as source:
                uploaded = upload(api, self._world, source)
            if as_json:
                print_json(uploaded.body)
            else:
                typer.echo(uploaded.id)

    def list_files(
        self,
        purpose: Annotated[str | None, typer.Option(help="batch or batch_output.")] = None,
        limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = _DEFAULT_LIMIT,
        after: Annotated[str | None, typer.Option(metavar="ID", help="Those after it.")] = None,
        server: ServerUrl = DEFAULT_SERVER,
        key: Key = None,
        as_json: AsJson = False,
    ) -> None:
        """List files, newest first."""
        given = {"purpose": purpose, "after": after}
        params = {name: value for name, value in given.items() if value is not None}
        with self._world.talk(server, key) as api:
            some = gather(api, "/files", params, limit)
            if as_json:
                print_json(*some.items)
            else:
                rows = [file_row(decode(item, File)) for item in some.items]
                print_rows(FILE_COLUMNS, rows, self._world.stdout())
            some.tell_rest()

    def show(
        self,
        file_id: FileId,
        server: ServerUrl = DEFAULT_SERVER,
        key: Key = None,
        as_json: AsJson = False,
    ) -> None:
        """Show every field of a file."""
        with self._world.talk(server, key) as api:
            body = api.get(f"/files/{segment(file_id)}")
            print_object(body, self._world.stdout(), as_json=as_json)

    def delete(
        self,
        file_id: FileId,
        server: ServerUrl = DEFAULT_SERVER,
        key: Key = None,
        as_json: AsJson = False,
    ) -> None:
        """Delete a file."""
        with self._world.talk(server, key) as api:
            body = api.delete(f"/files/{segment(file_id)}")
            if as_json:
                print_json(body)
            else:
                say(f"Deleted {file_id}.")

    def download(
        self,
        file_id: FileId,
        output: Annotated[
            str, typer.Option("--output", "-o", help="Where to write; - is stdout.")
        ] = STDIO,
        server: ServerUrl = DEFAULT_SERVER,
        key: Key = None,
        as_json: AsJson = False,
    ) -> None:
        """Download the content of a file; --json prints the file's object besides."""
        with self._world.talk(server, key) as api:
            Targets(output).check()
            fetch_file(api, self._world, file_id, output)
            if as_json and output != STDIO:
                print_json(api.get(f"/files/{segment(file_id)}"))
