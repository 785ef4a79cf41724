"""No page names a command or an option that is not there."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from docs_pages import PAGES, ROOT, commands_of, name_of, read
from typer.main import get_command

from batchmill.cli.main import make_app

CLI: Any = get_command(make_app())


def _find(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words call, and the words behind its name; raises KeyError."""
    command, rest = CLI, list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        command = command.commands[rest.pop(0)]
    return command, rest


def _options(command: Any) -> set[str]:
    named = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    return {"--help", *(option for option in named if option.startswith("-"))}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_on_a_page_exist(page: Path) -> None:
    """Every verb and every option of ``batchmill`` that a page shows is real."""
    for call in commands_of(page):
        words = [word for word in shlex.split(call) if word not in {"…", "|"}]
        command, rest = _find(words)
        options = {word.partition("=")[0] for word in rest if word.startswith("-") and word != "-"}
        assert options <= _options(command), call


def test_commands_are_found_on_pages() -> None:
    """The search for commands finds some where there are some."""
    assert len(list(commands_of(ROOT / "README.md"))) > 3


def _verbs(command: Any, words: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "commands"):
        return [(words, command)]
    return [
        verb for name, child in command.commands.items() for verb in _verbs(child, (*words, name))
    ]


@pytest.mark.parametrize(
    ("words", "command"), [pytest.param(*verb, id=" ".join(verb[0])) for verb in _verbs(CLI)]
)
def test_every_verb_is_in_the_reference(words: tuple[str, ...], command: Any) -> None:
    """The reference has a section for the verb, and in it every option."""
    page = read(ROOT / "docs" / "reference" / "cli.md")
    heading = f"## `batchmill {' '.join(words)}`\n"
    assert heading in page
    section = page.partition(heading)[2].partition("\n## ")[0]
    assert all(option in section for option in _options(command))
