"""The command line as a whole: which verbs there are, and that asking for one loads its module."""

from collections.abc import Iterator

import pytest
import typer
from typer.main import get_group
from typer.testing import CliRunner

import batchmill
from batchmill.cli.main import VERBS, make_app


def _verbs(app: typer.Typer) -> Iterator[str]:
    yield from get_group(app).commands


def test_every_verb_is_listed_with_the_module_that_has_it() -> None:
    assert set(_verbs(make_app())) == {*VERBS, "version"}


@pytest.mark.parametrize("verb", VERBS)
def test_the_module_of_a_verb_registers_it(verb: str) -> None:
    assert verb in _verbs(make_app([VERBS[verb]]))


@pytest.mark.parametrize("verb", [*VERBS, "version"])
def test_every_verb_says_what_it_does(verb: str) -> None:
    assert get_group(make_app()).commands[verb].help


def test_the_version_is_the_package_s() -> None:
    told = CliRunner().invoke(make_app(), ["version"])
    assert told.output.strip() == batchmill.__version__
