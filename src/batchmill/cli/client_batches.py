"""The verbs of batches: submit, watch, list, show, cancel, results.

Exit codes: 0 done, 2 refused or out of reach, 130 stopped by Ctrl-C; and where
a batch is waited for, 1 unless every request of it succeeded.
"""

from typing import Annotated, Final

import typer

from batchmill.cli.client_http import Api, decode, segment
from batchmill.cli.client_listing import gather
from batchmill.cli.client_model import Batch
from batchmill.cli.client_results import Targets, fetch_results, fetch_settled
from batchmill.cli.client_session import DEFAULT_SERVER, AsJson, Key, ServerUrl, World
from batchmill.cli.client_submit import Order, TableOptions, read_metadata, submit, table_rules
from batchmill.cli.client_view import (
    BATCH_COLUMNS,
    batch_row,
    fault_lines,
    print_json,
    print_object,
    print_rows,
    sum_up,
)
from batchmill.cli.client_watch import Manner, Seen, look, watch_to_end
from batchmill.cli.streams import STDIO, say
from batchmill.domain.errors import InvalidRequest

BatchId = Annotated[str, typer.Argument(metavar="ID", help="The batch's id.")]
Endpoint = Annotated[
    str | None, typer.Option(help="What to call; by default the first line's url.")
]
Window = Annotated[str, typer.Option(help="How long the batch may take: 24h, 7d.")]
Name = Annotated[str | None, typer.Option(help="A name, to find the batch by.")]
Description = Annotated[str | None, typer.Option(help="A description.")]
Metadata = Annotated[
    list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="Repeatable.")
]
Budget = Annotated[
    str | None,
    typer.Option(
        metavar="AMOUNT",
        help="The most that the batch may spend, such as 20.00, in its model's currency.",
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Watch the batch to its end.")]
OutputLater = Annotated[
    str | None,
    typer.Option("--output", "-o", help="Wait, and write the results there; - is stdout."),
]
ErrorsLater = Annotated[
    str | None, typer.Option("--errors", help="Wait, and write the failed requests there.")
]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(help="One batch for this key, however often it is sent; made up by default."),
]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Of a table: the model to ask.")]
PromptColumn = Annotated[
    str | None, typer.Option(help="Of a table: the prompt's column, position or name (2).")
]
IdColumn = Annotated[
    str | None, typer.Option(help="Of a table: the custom_id's column, position or name (1).")
]
NumberRows = Annotated[
    bool, typer.Option("--number-rows", help="Of a table: no id column, but request-1, …")
]
System = Annotated[str | None, typer.Option(help="Of a table: a system message for every row.")]

_DEFAULT_WINDOW: Final = "24h"
_DEFAULT_LIMIT: Final = 20


class BatchVerbs:
    """The verbs, in a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def register(self, app: typer.Typer) -> None:
        """Add the verbs to ``app``."""
        app.command("submit")(self.submit)
        app.command("watch")(self.watch)
        app.command("list")(self.list_batches)
        app.command("show")(self.show)
        app.command("cancel")(self.cancel)
        app.command("results")(self.results)

    def submit(
        self,
        file: Annotated[
            str,
            typer.Argument(
                metavar="IN.JSONL", help="Requests, a CSV of prompts, or an uploaded file's id."
            ),
        ],
        endpoint: Endpoint = None,
        window: Window = _DEFAULT_WINDOW,
        name: Name = None,
        description: Description = None,
        metadata: Metadata = None,
        budget: Budget = None,
        wait: Wait = False,
        output: OutputLater = None,
        errors: ErrorsLater = None,
        idempotency_key: IdempotencyKey = None,
        model: Model = None,
        prompt_column: PromptColumn = None,
        id_column: IdColumn = None,
        number_rows: NumberRows = False,
        system: System = None,
        server: ServerUrl = DEFAULT_SERVER,
        key: Key = None,
        as_json: AsJson = False,
    ) -> None:
        """Upload an input file, create a batch, and print its id.

        With --wait it ends with 0 where every request succeeded, else with 1.
        """
        table = TableOptions(model, prompt_column, id_column, number_rows, system)
        targets = Targets(output, errors)
        with self._world.talk(server, key) as api:
            targets.check(file)
            order = Order(
                endpoint,
                window,
                read_metadata(name, description, metadata or []),
                idempotency_key,
                budget,
            )
            seen = submit(api, self._world, file, order, table_rules(file, table, endpoint))
            manner = Manner(as_json=as_json, on_stderr=targets.use_stdout, source=file)
            if not wait and targets.is_empty:
                self._tell_submitted(seen, manner)
                return
            code = self._wait(api, seen, targets, manner)
        raise typer.Exit(code)

    def _tell_submitted(self, seen: Seen, manner: Manner) -> None:
        if manner.as_json:
            print_json(seen.body)
            return
        typer.echo(seen.batch.id)
        if self._world.stderr() is not None:
            say(f"Watch it by `batchmill watch {seen.batch.id}`.")

    def _wait(self, api: Api, seen: Seen, targets: Targets, manner: Manner) -> int:
        batch_id = seen.batch.id
        if not manner.as_json:
            typer.echo(batch_id, err=manner.on_stderr)
        end = watch_to_end(api, self._world, batch_id, manner=manner, is_known=True)
        if not end.batch.is_refused:
            fetch_results(api, self._world, end.batch, targets)
        if end.batch.error_file_id and targets.errors is None and not manner.as_json:
            say(f"See what failed by `batchmill results {batch_id} --errors errors.jsonl`.")
        return _exit_code(end.batch)

    def watch(
        self,
        batch_id: BatchId,
        server: ServerUrl = DEFAULT_SERVER,
        key: Key = None,
        as_json: AsJson = False,
    ) -> None:
        """Show a batch's progress until it is at its end.

        Ends with 0 where every request succeeded, else with 1. Ctrl-C stops
        the watching and leaves the batch alone.
        """
        with self._world.talk(server, key) as api:
            end = watch_to_end(api, self._world, batch_id, manner=Manner(as_json=as_json))
            raise typer.Exit(_exit_code(end.batch))

    def list_batches(
        self,
        status: Annotated[
            list[str] | None, typer.Option("--status", help="Only these; repeatable.")
        ] = None,
        name: Annotated[str | None, typer.Option(help="Those with this in their name.")] = None,
        limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = _DEFAULT_LIMIT,
        after: Annotated[str | None, typer.Option(metavar="ID", help="Those after it.")] = None,
        server: ServerUrl = DEFAULT_SERVER,
        key: Key = None,
        as_json: AsJson = False,
    ) -> None:
        """List batches, newest first."""
        given = {"status": ",".join(status or []) or None, "ds_name": name, "after": after}
        params = {name: value for name, value in given.items() if value is not None}
        with self._world.talk(server, key) as api:
            some = gather(api, "/batches", params, limit)
            if as_json:
                print_json(*some.items)
            else:
                rows = [batch_row(decode(item, Batch)) for item in some.items]
                print_rows(BATCH_COLUMNS, rows, self._world.stdout())
            some.tell_rest()

    def show(
        self,
        batch_id: BatchId,
        server: ServerUrl = DEFAULT_SERVER,
        key: Key = None,
        as_json: AsJson = False,
    ) -> None:
        """Show every field of a batch, and the faults of its input line by line."""
        with self._world.talk(server, key) as api:
            seen = look(api, batch_id)
            print_object(seen.body, self._world.stdout(), as_json=as_json)
            if not as_json:
                for line in fault_lines(seen.batch.faults):
                    typer.echo(line)

    def cancel(
        self,
        batch_id: BatchId,
        server: ServerUrl = DEFAULT_SERVER,
        key: Key = None,
        as_json: AsJson = False,
    ) -> None:
        """Stop a batch; what is answered by then is kept."""
        with self._world.talk(server, key) as api:
            body = api.post(f"/batches/{segment(batch_id)}/cancel")
            if as_json:
                print_json(body)
            else:
                typer.echo(sum_up(Seen.read(body).batch))

    def results(
        self,
        batch_id: BatchId,
        output: Annotated[
            str | None,
            typer.Option("--output", "-o", help="Where to write the results; - is stdout."),
        ] = None,
        errors: Annotated[
            str | None, typer.Option("--errors", help="Where to write the failed requests.")
        ] = None,
        partial: Annotated[
            bool, typer.Option("--partial", help="Do not wait for the end: what is done by now.")
        ] = False,
        server: ServerUrl = DEFAULT_SERVER,
        key: Key = None,
        as_json: AsJson = False,
    ) -> None:
        """Write a batch's results, to stdout unless told otherwise.

        --json prints the batch besides, where stdout is not for the results.
        Ends with 1 where the input was refused and there are no results.
        """
        targets = Targets(output, errors) if output or errors else Targets(STDIO)
        with self._world.talk(server, key) as api:
            targets.check()
            seen = look(api, batch_id)
            if seen.batch.is_refused:
                _tell_refused(seen, as_json=as_json)
            if partial:
                fetch_settled(api, batch_id, targets)
            else:
                _require_end(seen.batch)
                fetch_results(api, self._world, seen.batch, targets)
            if as_json and not targets.use_stdout:
                print_json(seen.body)


def _exit_code(batch: Batch) -> int:
    return 0 if batch.is_good else 1


def _require_end(batch: Batch) -> None:
    if not batch.is_over:
        raise InvalidRequest(
            f"Batch {batch.id} is {batch.status}: its files come at its end. Wait by "
            f"`batchmill watch {batch.id}`, or take what is done by --partial."
        )


def _tell_refused(seen: Seen, *, as_json: bool) -> None:
    if as_json:
        print_json(seen.body)
    else:
        say(f"{sum_up(seen.batch)}; it has no results.")
        for line in fault_lines(seen.batch.faults):
            say(line)
    raise typer.Exit(1)
