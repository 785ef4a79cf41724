"""How figures look: numbers, sizes, times, amounts. Pure; each answers text that is shown as it is.

What is not known is an em dash and never a zero.
"""

from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Final

from batchmill.domain.money import UNITS, decimal_of, rounded

UNKNOWN: Final = "—"

_SIZES: Final = ("KB", "MB", "GB", "TB")
_KILO: Final = 1_024
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_FEW: Final = 10
_TRACE: Final = 0.0005
_CENT: Final = UNITS // 100
_LEAST: Final = UNITS // 1_000_000
_SIGNS: Final = {"USD": "$", "EUR": "€", "CNY": "¥"}


def number(value: float | None) -> str:
    """A count with its thousands apart: ``12,345``."""
    if value is None:
        return UNKNOWN
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def size(value: int | None) -> str:
    """Bytes as people read them: ``512 bytes``, ``1.5 MB``, a MB being 1024 x 1024."""
    if value is None:
        return UNKNOWN
    if value < _KILO:
        return "1 byte" if value == 1 else f"{value:,} bytes"
    amount, unit = float(value), -1
    while amount >= _KILO and unit < len(_SIZES) - 1:
        amount, unit = amount / _KILO, unit + 1
    return f"{amount:,.1f} {_SIZES[unit]}"


def duration(seconds: float | None) -> str:
    """A span of time in its two largest units: ``3 d 4 h``, ``2 min 5 s``, ``0.4 s``."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0:
        return f"-{duration(-seconds)}"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{seconds:.1f} s" if round(seconds, 1) < _FEW else f"{whole} s"
    if whole < _HOUR:
        return _two(whole, _MINUTE, "min", 1, "s")
    if whole < _DAY:
        return _two(whole, _HOUR, "h", _MINUTE, "min")
    return _two(whole, _DAY, "d", _HOUR, "h")


def _two(seconds: int, large: int, name: str, small: int, rest: str) -> str:
    most, left = divmod(seconds, large)
    return f"{most} {name} {left // small} {rest}" if left >= small else f"{most} {name}"


def percent(share: float | None) -> str:
    """A share of one as percent: ``0.1 %``; what is nearly nothing or all says so."""
    if share is None:
        return UNKNOWN
    if 0 < share < _TRACE:
        return "< 0.1 %"
    if 1 - _TRACE < share < 1:
        return "> 99.9 %"
    return f"{share * 100:.1f} %"


def amount(units: int | None, currency: str | None = None) -> str:
    """Money rounded to cents, or to six places where that would hide it: ``$12.30``."""
    if units is None:
        return UNKNOWN
    if units < 0:
        return f"-{amount(-units, currency)}"
    if 0 < units < _LEAST:
        return f"< {amount(_LEAST, currency)}"
    text = f"{Decimal(rounded(units, 2 if units == 0 or units >= _CENT else 6)):,f}"
    return _in_currency(text, currency)


def price(units: int, currency: str) -> str:
    """What something costs, to its last digit and at least in cents: ``$0.025``, ``$1.20``."""
    whole, _, rest = exact(units).partition(".")
    return _in_currency(f"{int(whole):,}.{rest:0<2}", currency)


def _in_currency(text: str, currency: str | None) -> str:
    if currency is None:
        return text
    sign = _SIGNS.get(currency)
    return f"{sign}{text}" if sign else f"{text} {currency}"


def exact(units: int) -> str:
    """Money to its last digit, without an exponent."""
    return f"{decimal_of(units).normalize():f}"


def instant(at: float | None, zone: tzinfo) -> str:
    """A point in time to the second: ``2026-11-22 14:03:09``."""
    return UNKNOWN if at is None else f"{datetime.fromtimestamp(at, zone):%Y-%m-%d %H:%M:%S}"


def machine_time(at: float, zone: tzinfo) -> str:
    """A point in time as the ``datetime`` attribute wants it."""
    return datetime.fromtimestamp(at, zone).isoformat(timespec="seconds")


def short_id(text: str) -> str:
    """An id that fits into a column: its kind and the first of its digits."""
    kind, _, rest = text.rpartition("-" if text.startswith("file-") else "_")
    return f"{kind[:18]}…{rest[:8]}" if len(text) > 20 else text
