"""``batchmill mock-upstream``: an OpenAI-compatible server that fails as it is told.

It is how failures are rehearsed before tokens are paid for. Every option is a
field of ``upstream.mock.Script``, which says what it does.
"""

from typing import Annotated

import typer
import uvloop

from batchmill.cli.streams import one_sentence
from batchmill.upstream.mock import Fault, Script, Tokenizes, serve_mock


def register(app: typer.Typer) -> None:
    """Add ``mock-upstream`` to the command line."""
    app.command("mock-upstream")(mock_upstream)


def _share(told: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        help=told, min=0.0, max=1.0, metavar="SHARE", rich_help_panel="Faults"
    )
    return option


def mock_upstream(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes any free one.")] = 8000,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model to serve; without one any name, listed as mock."),
    ] = None,
    require_key: Annotated[
        str | None, typer.Option(help="Answer 401 to requests without this key.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed meets other faults.")] = 0,
    latency: Annotated[float, typer.Option(help="Seconds of work a request.")] = 0.0,
    tail_share: Annotated[float, _share("Requests that are slow.")] = 0.0,
    tail_latency: Annotated[
        float, typer.Option(help="Seconds that a slow request takes at the median.")
    ] = 0.0,
    slots: Annotated[
        int | None, typer.Option(help="Requests worked on at once; others queue.")
    ] = None,
    queue: Annotated[
        int | None, typer.Option(help="Longest queue; beyond it the answer is 429.")
    ] = None,
    retry_after: Annotated[
        float | None, typer.Option(help="Seconds in the Retry-After of a 429.")
    ] = 1.0,
    rate_429: Annotated[float, _share("429 with Retry-After.")] = 0.0,
    rate_5xx: Annotated[float, _share("A server error.")] = 0.0,
    status_5xx: Annotated[int, typer.Option(help="Status of a server error.")] = 503,
    rate_reset: Annotated[float, _share("The connection closes without an answer.")] = 0.0,
    rate_cut: Annotated[float, _share("The connection closes within the answer.")] = 0.0,
    rate_hang: Annotated[float, _share("No answer, ever.")] = 0.0,
    rate_error_body: Annotated[float, _share("200 with an error object.")] = 0.0,
    rate_not_json: Annotated[float, _share("200 with a page of HTML.")] = 0.0,
    rate_cut_json: Annotated[float, _share("200 with half of the JSON.")] = 0.0,
    rate_bad_utf8: Annotated[float, _share("200 with bytes that are not UTF-8.")] = 0.0,
    rate_oversized: Annotated[float, _share("200 with a very large body.")] = 0.0,
    oversized_bytes: Annotated[int, typer.Option(help="Size of a very large body.")] = 300
    * 1024
    * 1024,
    fail_first: Annotated[
        int, typer.Option(help="How often each line fails before it succeeds.")
    ] = 0,
    fail_with: Annotated[Fault, typer.Option(help="How it fails then.")] = Fault.SERVER_ERROR,
    close_after: Annotated[
        int | None, typer.Option(help="Answers after which a connection is closed.")
    ] = None,
    close_delay: Annotated[
        float, typer.Option(help="Seconds between the last answer and the close.")
    ] = 0.0,
    count_lines: Annotated[
        bool, typer.Option(help="Count hits per line; GET /stats shows them.")
    ] = True,
    tokenizes: Annotated[
        Tokenizes, typer.Option(help="In whose way POST /tokenize counts words, if at all.")
    ] = Tokenizes.VLLM,
) -> None:
    """Serve made-up answers, and faults at the rates that you ask for."""
    given = dict(locals())  # every option but host, port and model is a field of the script
    fields = {name: given[name] for name in Script.__dataclass_fields__ if name in given}
    with one_sentence():
        script = Script(models=tuple(model or ()), **fields)
        uvloop.run(serve_mock(script, host, port))
