#!/usr/bin/env python3
"""Writes docs/reference/cli.md from the help of the command line itself.

Run it after a change to a verb; a test fails while the page is stale.
"""

from collections.abc import Iterator
from typing import Any

from gen_marker import ROOT, write
from typer import Typer
from typer.main import get_command
from typer.testing import CliRunner

from batchmill.cli.main import make_app

PAGE = ROOT / "docs" / "reference" / "cli.md"
WIDTH = 92

INTRODUCTION = """\
# Command line

<!-- Written by scripts/gen_cli_doc.py: change the verb's own help in src/batchmill/cli instead. -->

Every verb says what it does with `--help`. What goes wrong is one sentence on standard error.

| Exit code | Meaning |
| --- | --- |
| 0 | Done. Where a batch was waited for: every request of it succeeded. |
| 1 | Done, but not all is good: faults in a file, failed requests, a batch that was refused. |
| 2 | Not done: a wrong option or setting, a file that cannot be read, a server that refuses. |
| 3 | `serve` alone: a process of the server cannot start, and trying again would not help. |
| 130 | Stopped by Ctrl-C. |

A file name `-` is standard input or standard output. Settings and variables of the server are in
[settings](settings.md).
"""


def render() -> str:
    """The whole page."""
    app = make_app()
    sections = (_section(app, words) for words in _commands(get_command(app)))
    return "\n".join([INTRODUCTION, *sections])


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every verb as the words that call it, in the order of the help."""
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from _commands(child, (*words, name))
        else:
            yield (*words, name)


def _section(app: Typer, words: tuple[str, ...]) -> str:
    result = CliRunner().invoke(
        app,
        [*words, "--help"],
        prog_name="batchmill",
        color=False,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
    )
    if result.exit_code:
        raise RuntimeError(f"batchmill {' '.join(words)} --help failed: {result.output}")
    return f"## `batchmill {' '.join(words)}`\n\n```text\n{result.output.strip()}\n```\n"


if __name__ == "__main__":
    write(PAGE, render())
