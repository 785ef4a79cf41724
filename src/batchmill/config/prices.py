"""The price table's file: read, and refused with one sentence; and the examples that are shipped.

What a table may say is ``domain.price_table``'s business. Numbers are taken
exactly as they are written: no price is ever a binary fraction.
"""

from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Final

from batchmill.config.settings import Settings
from batchmill.config.sources import read_toml
from batchmill.domain.errors import ConfigError
from batchmill.domain.price_table import PriceFault, read_table
from batchmill.domain.pricing import NO_PRICES, PriceTable

_EXAMPLES: Final = {False: "example_prices.toml", True: "example_prices_china.toml"}


def load_prices(settings: Settings) -> PriceTable:
    """The table that the settings name, NO_PRICES without one; raises ConfigError."""
    file = settings.prices.file
    return NO_PRICES if file is None else read_prices(file)


def read_prices(file: Path) -> PriceTable:
    """The table of a TOML file; raises ConfigError, which names the first mistake's place."""
    tree = read_toml(file, "price table", parse_float=Decimal)
    try:
        return read_table(tree)
    except PriceFault as fault:
        stop = "" if str(fault).endswith("?") else "."
        raise ConfigError(f"In the price table {file}, {fault}{stop}") from None


def example_prices(*, china: bool = False) -> str:
    """The text of a shipped table: the vendor's international prices, or those of China."""
    return files(__package__).joinpath(_EXAMPLES[china]).read_text(encoding="utf-8")
