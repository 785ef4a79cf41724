"""Verbs that work on files alone: check, csv-to-jsonl, results-to-csv, generate.

No server and no network; the rules of the conversions live in
``domain.convert``. A user's mistake is one sentence on stderr and exit code 2,
and an output file appears whole or not at all.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec
import typer

from batchmill.cli.check import check
from batchmill.cli.streams import (
    STDIO,
    one_sentence,
    open_binary,
    open_text,
    plural,
    say,
    write_pieces,
)
from batchmill.domain import convert
from batchmill.domain.errors import InvalidRequest

_DELIMITERS: Final = {"\\t": "\t", "tab": "\t"}

Output = Annotated[str, typer.Option("--output", "-o", help="Where to write; - is stdout.")]
Model = Annotated[str, typer.Option("--model", "-m", help="The model to ask.")]
System = Annotated[
    str | None, typer.Option(help="A system message for every request; none by default.")
]
IdColumn = Annotated[
    str, typer.Option(help="The column of the custom_id: position from 1, or name.")
]
PromptColumn = Annotated[
    str, typer.Option(help="The column of the prompt: position from 1, or name.")
]
Header = Annotated[
    bool | None,
    typer.Option(help="Whether the first row names the columns; by default if a column is named."),
]
Delimiter = Annotated[str, typer.Option(help="What sets cells apart; \\t is a tab.")]
Members = Annotated[
    str, typer.Option("--body", help='More for each body, as JSON: {"max_tokens": 100}.')
]


def register(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    app.command("check")(check)
    app.command("csv-to-jsonl")(csv_to_jsonl)
    app.command("results-to-csv")(results_to_csv)
    app.command("generate")(generate)


def csv_to_jsonl(
    file: Annotated[str, typer.Argument(metavar="IN.CSV", help="The table; - is stdin.")],
    output: Output = STDIO,
    model: Model = convert.DEFAULT_MODEL,
    endpoint: Annotated[str, typer.Option(help="The endpoint to ask.")] = convert.CHAT,
    system: System = None,
    id_column: IdColumn = "1",
    prompt_column: PromptColumn = "2",
    number_rows: Annotated[
        bool, typer.Option("--number-rows", help="No id column: request-1, request-2, …")
    ] = False,
    header: Header = None,
    delimiter: Delimiter = ",",
    encoding: Annotated[str, typer.Option(help="The encoding of the table.")] = "utf-8",
    extra: Members = "{}",
) -> None:
    """Turn a table into an input file, one request a row."""
    with one_sentence():
        rules = convert.CsvRules(
            model=model,
            endpoint=endpoint,
            system=system,
            id_column=None if number_rows else id_column,
            prompt_column=prompt_column,
            header=header,
            delimiter=_delimiter(delimiter),
            extra=_members(extra),
        )
        with open_text(file, encoding) as text:
            count = write_pieces(output, convert.csv_to_requests(text, rules))
        _say_written(count, "request", output)


def results_to_csv(
    files: Annotated[
        list[str],
        typer.Argument(metavar="OUT.JSONL [ERRORS.JSONL]", help="Result files; - is stdin."),
    ],
    output: Output = STDIO,
    bom: Annotated[
        bool, typer.Option("--bom/--no-bom", help="Begin with a BOM, as spreadsheets like it.")
    ] = True,
) -> None:
    """Turn output and error files into one table.

    Cells are written as they are. Where you do not trust the answers, import
    them into a spreadsheet as text, so that none counts as a formula.
    """
    with one_sentence():
        rows = (row for name in files for row in _result_rows(name))
        pieces = convert.rows_to_csv(rows, bom=bom)
        count = write_pieces(output, (piece.encode() for piece in pieces))
        _say_written(count - 1 - bom, "row", output)


def generate(
    file: Annotated[
        str, typer.Argument(metavar="PROMPTS.TXT", help="One prompt a line; - is stdin.")
    ],
    output: Output = STDIO,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The model to ask; qwen-plus or text-embedding-v4."),
    ] = None,
    media: Annotated[
        str | None,
        typer.Option(help="A file of image, video and audio URLs: a line each, commas between."),
    ] = None,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Make embedding requests.")
    ] = False,
    thinking: Annotated[
        bool | None,
        typer.Option("--thinking/--no-thinking", help="Set enable_thinking; unset by default."),
    ] = None,
    thinking_budget: Annotated[
        int | None, typer.Option(min=1, help="Tokens to think with: 50, or 500 for qwen3-vl.")
    ] = None,
    system: Annotated[
        str, typer.Option(help="The system message; empty for none.")
    ] = convert.DEFAULT_SYSTEM,
) -> None:
    """Make an input file from prompts, one a line, as the vendor's generator does."""
    rules = convert.GenerateRules(
        model=model or convert.DEFAULT_MODEL,
        thinking=thinking,
        thinking_budget=thinking_budget,
        system=system or None,
    )
    with one_sentence():
        if embeddings and media is not None:
            raise InvalidRequest("Requests are made of --media or for --embeddings, not both.")
        if embeddings:
            requests = _embedding_requests(file, model or convert.DEFAULT_EMBEDDING_MODEL)
        else:
            requests = _chat_requests(file, media, rules)
        _say_written(write_pieces(output, requests), "request", output)


def _embedding_requests(file: str, model: str) -> Iterator[bytes]:
    with open_text(file) as texts:
        yield from convert.generate_embeddings(texts, model)


def _chat_requests(file: str, media: str | None, rules: convert.GenerateRules) -> Iterator[bytes]:
    with open_text(file) as prompts:
        if media is None:
            yield from convert.generate_text(prompts, rules)
            return
        with open_text(media) as urls:
            yield from convert.generate_media(urls, prompts, rules)


def _result_rows(name: str) -> Iterator[tuple[str, ...]]:
    with open_binary(name) as lines:
        try:
            yield from convert.results_to_rows(lines)
        except InvalidRequest as error:
            raise InvalidRequest(f"{name}: {error.message}") from None


def _delimiter(given: str) -> str:
    delimiter = _DELIMITERS.get(given, given)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise InvalidRequest(f"--delimiter is one character, not '{given}'; \\t is a tab.")
    return delimiter


def _members(given: str) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(given, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest('--body takes a JSON object, such as {"max_tokens": 100}.') from None


def _say_written(count: int, noun: str, output: str) -> None:
    if output != STDIO:
        say(f"Wrote {plural(count, noun)} to {output}.")
