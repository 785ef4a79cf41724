"""``batchmill prices``: the price table in force, an example of one, or a check of a file.

What a table may say is the domain's business; this reads and prints.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from batchmill.cli.config_show import AsJson, ConfigFile
from batchmill.cli.streams import one_sentence, plural
from batchmill.config import example_prices, load_prices, load_settings, read_prices
from batchmill.domain.errors import InvalidRequest
from batchmill.domain.price_table import dump_table
from batchmill.domain.pricing import NO_PRICES, ModelPrice, PriceTable, Tier

_HEADS = ("model", "from", "input tokens", "input", "output", "thinking", "cached", "")
_NONE = "Nothing is priced: name a table in prices.file; batchmill prices --example prints one."


def register(app: typer.Typer) -> None:
    """Add ``prices`` to the command line."""
    app.command("prices")(prices)


def prices(
    config: ConfigFile = None,
    example: Annotated[
        bool, typer.Option("--example", help="Print a table to begin with, in US dollars.")
    ] = False,
    example_china: Annotated[
        bool, typer.Option("--example-china", help="Print one with the prices in China, in yuan.")
    ] = False,
    check: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Say whether a table can be put in force.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the price table in force, per million tokens; or an example of one, or check a file."""
    with one_sentence():
        if sum((example, example_china, check is not None)) > 1:
            raise InvalidRequest("Give one of --example, --example-china and --check.")
        if example or example_china:
            typer.echo(example_prices(china=example_china), nl=False)
        elif check is not None:
            typer.echo(f"{check}: good; {_summary(read_prices(check))}")
        else:
            table = load_prices(load_settings(file=config, env=os.environ, flags={}).settings)
            typer.echo(dump_table(table) if as_json else _shown(table))


def _summary(table: PriceTable) -> str:
    return f"{plural(len(table.models), 'model')}, version {table.version}"


def _shown(table: PriceTable) -> str:
    if table.version == NO_PRICES.version:
        return _NONE
    rows = [_HEADS, *(row for price in table.prices for row in _rows(price))]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEADS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", f"{_summary(table)}; {_terms(table)}"])


def _rows(price: ModelPrice) -> Iterator[tuple[str, ...]]:
    """A row a tier, what holds for the whole model in the first."""
    heads: tuple[str, str] = (price.model, _day(price.valid_from))
    for before, tier in pairwise((None, *price.tiers)):
        if tier is not None:
            yield (*heads, _span(before, tier), *_figures(tier), price.currency)
            heads = ("", "")


def _span(before: Tier | None, tier: Tier) -> str:
    if tier.up_to is not None:
        return f"to {tier.up_to:,}"
    return f"above {before.up_to:,}" if before is not None and before.up_to else "any"


def _figures(tier: Tier) -> tuple[str, ...]:
    figures = (tier.input, tier.output, tier.thinking_output, tier.cached_input)
    return tuple("" if one is None else f"{one:f}" for one in figures)


def _day(valid_from: float) -> str:
    if not valid_from:
        return ""
    moment = datetime.fromtimestamp(valid_from, UTC)
    return f"{moment:%Y-%m-%d}" if valid_from % 86_400 == 0 else f"{moment:%Y-%m-%d %H:%MZ}"


def _terms(table: PriceTable) -> str:
    own = any(price.discount is not None or price.windows for price in table.prices)
    more = ", other shares by model or window" if own or table.windows else ""
    return f"a batch costs {_percent(1 - table.discount)} of these{more}"


def _percent(share: Decimal) -> str:
    return f"{(share * 100).normalize():f} %"
