#!/usr/bin/env python3
"""Writes docs/reference/settings.md from the settings themselves.

Run it after a change to ``batchmill/config/settings.py``; a test fails while
the page is stale.
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from pydantic_core import PydanticUndefined

from batchmill.config import OTHER_VARIABLES, Settings
from batchmill.config.tree import Keys, Spot, dotted, env_name, spots
from batchmill.domain.limits import Profile

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "settings.md"

INTRODUCTION = f"""\
# Settings

<!-- Written by scripts/gen_settings_doc.py: change src/batchmill/config/settings.py instead. -->

A setting comes from the first of these that has it:

1. a flag of the command line, such as `--port`;
2. an environment variable: `BATCHMILL_` and the setting's path in capital letters, two
   underscores between section and name, such as `BATCHMILL_SERVER__PORT`;
3. the file that `--config` (or `BATCHMILL_CONFIG`) names, in TOML;
4. its default.

`batchmill config show` prints what is in force and where each value came from. A name that is
not on this page, in the file or as a `BATCHMILL_` variable, stops the start with a sentence
that names it. These variables are no settings and are left alone:
{", ".join(f"`{name}`" for name in sorted(OTHER_VARIABLES))}.

Sizes are bytes, or a number with `KB`, `MB`, `GB` or `TB`, where a KB is 1024 bytes. Times are
seconds, or a whole number with `s`, `m`, `h` or `d`.

`BATCHMILL_MODELS` takes the place of all `[[models]]` of the file. It is a JSON list of tables
with the same names:

```sh
BATCHMILL_MODELS='[{{"name": "qwen-plus", "upstreams": [{{"url": "http://10.0.0.5:8000/v1"}}]}}]'
```
"""

HEADINGS: dict[Keys, str] = {
    (): "At the top",
    ("models", "*"): "`[[models]]`",
    ("models", "*", "upstreams", "*"): "`[[models.upstreams]]`",
}


def render() -> str:
    """The whole page."""
    groups = groupby(sorted(spots(), key=_order), key=lambda spot: spot.path[:-1])
    return "\n".join([INTRODUCTION, *(_section(at, tuple(group)) for at, group in groups)])


def _order(spot: Spot) -> tuple[bool, bool, int]:
    """The sections last, lists of tables before them, outer ones first; the sort is stable."""
    listed = "*" in spot.path
    return len(spot.path) > 1, not listed, len(spot.path) if listed else 0


def _section(at: Keys, group: tuple[Spot, ...]) -> str:
    listed = "*" in at
    columns = ["Setting", *([] if listed else ["Variable"]), "Default", "Must be", "What it does"]
    rows = [columns, ["---"] * len(columns), *(list(_cells(spot, listed)) for spot in group)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"## {HEADINGS.get(at, f'`[{dotted(at)}]`')}\n\n{table}\n"


def _cells(spot: Spot, listed: bool) -> Iterator[str]:
    yield f"`{spot.path[-1]}`"
    if not listed:
        yield f"`{env_name(spot.path)}`"
    yield _default(spot)
    yield spot.kind.may_be
    yield spot.field.description or ""


def _default(spot: Spot) -> str:
    default = spot.field.default
    if default is PydanticUndefined:
        return "required"
    if default in (None, (), {}):
        return "none"
    plain = f"`{spot.kind.show(default)}`"
    if spot.path[0] != "limits":
        return plain
    other = getattr(Settings(profile=Profile.OPENAI).limits, str(spot.path[-1]))
    return plain if other == default else f"{plain}; openai: `{spot.kind.show(other)}`"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render(), encoding="utf-8")
    print(f"Wrote {PAGE}")
