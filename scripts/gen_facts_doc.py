#!/usr/bin/env python3
"""Fills the list of the log's facts in docs/how-to/monitoring.md.

Run it after a change to ``batchmill/telemetry``; a test fails while the page
is stale. A fact that nobody tells is not offered to a reader. The tables of
metrics beside it are written by hand, and a test holds them against the code.
"""

import re
from functools import cache
from textwrap import fill as wrap

from gen_marker import ROOT, fill, write

from batchmill.telemetry.facts import Fact

PAGE = ROOT / "docs" / "how-to" / "monitoring.md"
SOURCE = ROOT / "src" / "batchmill"


def render() -> str:
    """The whole page, its list filled anew."""
    told = ", ".join(f"`{fact}`" for fact in told_facts())
    return fill(PAGE, "facts", wrap(told, 100))


def told_facts() -> list[Fact]:
    """Every fact that some code writes; the supervisor, which imports nothing, says it in full."""
    return [fact for fact in Fact if re.search(rf'Fact\.{fact.name}\b|"{fact}"', _source())]


@cache
def _source() -> str:
    """All code but that which defines facts."""
    paths = (path for path in SOURCE.rglob("*.py") if path.name != "facts.py")
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


if __name__ == "__main__":
    write(PAGE, render())
