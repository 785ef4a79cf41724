"""Money: exact amounts of a currency, as whole numbers of 10^-15 of it.

Every price per million tokens of at most 6 decimals, times a discount of at
most 3, is a whole number of these units a token; so that sums are exact
however they are added up. Amounts are rounded only where a person reads them.
"""

import re
from decimal import ROUND_HALF_EVEN, Decimal

SCALE = 15
UNITS = 1_000_000_000_000_000
PRICE_DECIMALS = 6
DISCOUNT_DECIMALS = 3

_MILLION = 1_000_000
_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,15})?")


def units_per_token(price: Decimal) -> int:
    """Units a token of a price per million tokens; raises ValueError beyond 6 decimals."""
    millionths = price.scaleb(PRICE_DECIMALS)
    if millionths != int(millionths):
        raise ValueError(price)
    return int(millionths) * (UNITS // _MILLION // _MILLION)


def parse_amount(text: str) -> int | None:
    """The units of an amount such as ``20.00``, or None for what is none."""
    return int(Decimal(text).scaleb(SCALE)) if _AMOUNT.fullmatch(text) else None


def decimal_of(units: int) -> Decimal:
    """The amount as a decimal number, exact."""
    sign, digits = int(units < 0), tuple(int(one) for one in str(abs(units)))
    return Decimal((sign, digits, -SCALE))


def text_of(units: int) -> str:
    """The exact amount, written without an exponent and without idle zeros: ``0.00045``."""
    sign, (whole, part) = "-" if units < 0 else "", divmod(abs(units), UNITS)
    decimals = f"{part:0{SCALE}d}".rstrip("0")
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"


def rounded(units: int, places: int = 2) -> str:
    """The amount as a person reads it, half to even."""
    step = Decimal(1).scaleb(-places)
    return f"{decimal_of(units).quantize(step, ROUND_HALF_EVEN):f}"
