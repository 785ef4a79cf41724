"""Price tables: a TOML tree into a PriceTable, and a table into the text that is kept for good.

``read_table`` judges what a person wrote, and every mistake is one sentence
that names the place. ``dump_table`` and ``restore_table`` are the store's:
batches that were charged long ago need their table back, equal to the last
digit, so a text that was once written must be readable for ever.
"""

import difflib
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final, TypeVar

import msgspec

from batchmill.domain.catalog import TEST_MODEL
from batchmill.domain.limits import parse_duration
from batchmill.domain.money import DISCOUNT_DECIMALS, PRICE_DECIMALS
from batchmill.domain.pricing import HALF, ModelPrice, PriceTable, Tier

_VERSION_CHARS: Final = 16
_LARGEST_PRICE: Final = 1_000_000_000
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_NUMBER: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")

_TIER_KEYS: Final = ("input", "output", "thinking_output", "cached_input")
_PRICE_KEYS: Final = (
    *("model", "currency", "valid_from", "batch_discount", "windows", "tiers"),
    *_TIER_KEYS,
)
_TABLE_KEYS: Final = ("currency", "batch_discount", "stack_discounts", "windows", "prices")

Value = TypeVar("Value")


class PriceFault(Exception):
    """The table is wrong. The text has no full stop: the place, what stands there, what may."""


def dump_table(table: PriceTable) -> str:
    """The table as text, version and all; ``restore_table`` makes an equal one of it."""
    return msgspec.json.encode(table).decode()


def restore_table(text: str) -> PriceTable:
    """The table that ``dump_table`` wrote; raises msgspec.DecodeError for any other text."""
    return msgspec.json.decode(text, type=PriceTable)


def read_table(tree: Mapping[str, object]) -> PriceTable:
    """The table of a TOML tree, floats read as Decimal; raises PriceFault.

    Its version is a digest of what it says, whatever the order and the comments.
    """
    node = _Node(tree, "", _TABLE_KEYS)
    currency = node.read("currency", _currency)
    discount = node.read("batch_discount", _discount)
    prices = [_price(one, currency) for one in node.tables("prices")]
    _refuse_twins(prices)
    table = PriceTable(
        version="",
        prices=tuple(sorted(prices, key=lambda one: (one.model, one.valid_from))),
        discount=HALF if discount is None else discount,
        windows=_windows(node),
        stack_discounts=bool(node.read("stack_discounts", _flag)),
    )
    return replace(table, version=_digest(table))


def _digest(table: PriceTable) -> str:
    return hashlib.sha256(dump_table(table).encode()).hexdigest()[:_VERSION_CHARS]


class _Misfit(Exception):
    """A value is not what it must be; ``must`` says what that is."""

    def __init__(self, must: str) -> None:
        super().__init__(must)
        self.must = must


class _Node:
    """A table of the tree; ``place`` is what comes before a key's name in a sentence."""

    def __init__(self, tree: Mapping[str, object], place: str, known: tuple[str, ...]) -> None:
        self.tree = tree
        self.place = place
        for key in tree:
            if key not in known:
                raise PriceFault(_unknown(f"{place}{key}", key, known))

    def read(self, key: str, reader: Callable[[object], Value]) -> Value | None:
        """The value of ``key``, or None where it is absent."""
        if key not in self.tree:
            return None
        try:
            return reader(self.tree[key])
        except _Misfit as misfit:
            shown = _shown(self.tree[key])
            raise PriceFault(f"{self.place}{key} is {shown}, but must be {misfit.must}") from None

    def required(self, key: str, reader: Callable[[object], Value], why: str) -> Value:
        """The value of a key that must be there."""
        value = self.read(key, reader)
        if value is None:
            raise PriceFault(f"{self.place}{key} is missing: {why}")
        return value

    def tables(self, key: str) -> Iterator[tuple[Mapping[str, object], str]]:
        """The tables of a list, one or more, each with its place."""
        listed = self.required(key, _tables, f"give at least one [[{self.place}{key}]]")
        for index, one in enumerate(listed):
            yield one, f"{self.place}{key}.{index}."


# --- models ---


def _price(found: tuple[Mapping[str, object], str], currency: str | None) -> ModelPrice:
    node = _Node(*found, _PRICE_KEYS)
    model = node.required("model", _model, "name the model that is priced")
    currency = node.read("currency", _currency) or currency
    if currency is None:
        why = "name one here or at the top, such as USD"
        raise PriceFault(f"{node.place}currency is missing: {why}")
    return ModelPrice(
        model=model,
        currency=currency,
        tiers=_tiers(node),
        valid_from=node.read("valid_from", _moment) or 0.0,
        discount=node.read("batch_discount", _discount),
        windows=_windows(node),
    )


def _tiers(node: _Node) -> tuple[Tier, ...]:
    if "tiers" not in node.tree:
        flat = {key: node.tree[key] for key in _TIER_KEYS if key in node.tree}
        return (_tier(_Node(flat, node.place, _TIER_KEYS)),)
    for key in _TIER_KEYS:
        if key in node.tree:
            raise PriceFault(f"{node.place}{key} stands beside tiers: keep one of the two")
    nodes = [_Node(tree, place, ("up_to", *_TIER_KEYS)) for tree, place in node.tables("tiers")]
    tiers = tuple(_tier(one) for one in nodes)
    _check_bounds(nodes, tiers)
    return tiers


def _tier(node: _Node) -> Tier:
    return Tier(
        input=node.required("input", _amount, "give the price per million input tokens"),
        output=node.read("output", _amount) or Decimal(0),
        thinking_output=node.read("thinking_output", _amount),
        cached_input=node.read("cached_input", _amount),
        up_to=node.read("up_to", _bound),
    )


def _check_bounds(nodes: list[_Node], tiers: tuple[Tier, ...]) -> None:
    """Each tier but the last ends, and each ends above the one before."""
    before = 0
    for index, (node, tier) in enumerate(zip(nodes, tiers, strict=True)):
        if tier.up_to is None:
            if index < len(tiers) - 1:
                raise PriceFault(f"{node.place}up_to is missing: only the last tier has no end")
        elif tier.up_to <= before:
            raise PriceFault(
                f"{node.place}up_to is {tier.up_to}, but must be above {before}, "
                "where the tier before ends"
            )
        else:
            before = tier.up_to


def _refuse_twins(prices: list[ModelPrice]) -> None:
    """A model has one currency, and one price from a moment on."""
    seen: dict[tuple[str, float], int] = {}
    currencies: dict[str, str] = {}
    for index, price in enumerate(prices):
        other = seen.setdefault((price.model, price.valid_from), index)
        if other != index:
            raise PriceFault(
                f"prices.{index} is for {price.model} from the same moment on as "
                f"prices.{other}: give one of them another valid_from"
            )
        first = currencies.setdefault(price.model, price.currency)
        if first != price.currency:
            raise PriceFault(
                f"prices.{index}.currency is {price.currency}, but {price.model} is priced "
                f"in {first} already, and a model has one currency"
            )


def _windows(node: _Node) -> Mapping[int, Decimal]:
    table = node.read("windows", _mapping) or {}
    inner = _Node(table, f"{node.place}windows.", tuple(table))
    found: dict[int, Decimal] = {}
    for name in table:
        seconds = parse_duration(name)
        if seconds is None:
            raise PriceFault(
                f"{inner.place}{name} is no completion window: write one such as 24h or 7d"
            )
        if seconds in found:
            raise PriceFault(f"{inner.place}{name} is a window that stands there already")
        found[seconds] = inner.required(name, _discount, "")
    return dict(sorted(found.items()))


# --- single values ---


def _amount(value: object) -> Decimal:
    must = f"a price from 0 to {_LARGEST_PRICE} with at most {PRICE_DECIMALS} decimals"
    return _decimal(value, must, most=_LARGEST_PRICE, places=PRICE_DECIMALS)


def _discount(value: object) -> Decimal:
    must = f"a share from 0 to 1 with at most {DISCOUNT_DECIMALS} decimals, such as 0.5"
    return _decimal(value, must, most=1, places=DISCOUNT_DECIMALS)


def _decimal(value: object, must: str, *, most: int, places: int) -> Decimal:
    """The exact number, in the one form that all its spellings share."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _Misfit(must)
    number = Decimal(value)
    # Compared before it is scaled: 1e999999 is a number, and its digits are not to be written out.
    if number.is_nan() or not 0 <= number <= most:
        raise _Misfit(must)
    plain = _normal(number)
    exponent = plain.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > places:
        raise _Misfit(must)
    return plain


def _normal(number: Decimal) -> Decimal:
    """Without idle zeros and exponents; exact, where the library's own way may round."""
    _, digits, exponent = number.as_tuple()
    if number == int(number) or not isinstance(exponent, int):
        return Decimal(int(number))
    while digits[-1] == 0:
        digits, exponent = digits[:-1], exponent + 1
    return Decimal((0, digits, exponent))


def _currency(value: object) -> str:
    if isinstance(value, str) and _CURRENCY.fullmatch(value):
        return value
    raise _Misfit("a code of three capital letters, such as USD")


def _model(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _Misfit("the name of a model")
    if value == TEST_MODEL:
        raise _Misfit("another model: the test model is free")
    return value


def _moment(value: object) -> float:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    raise _Misfit("a date or a time such as 2026-01-31, without quotes")


def _bound(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise _Misfit("a number of input tokens from 1")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise _Misfit("true or false")


def _mapping(value: object) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        return value
    raise _Misfit("a table")


def _tables(value: object) -> list[Mapping[str, object]]:
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        return value
    raise _Misfit("a list of one or more tables")


def _unknown(place: str, key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else f": there are {', '.join(known)}"
    return f"{place} is not known{hint}"


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    text = text.lower() if isinstance(value, bool) else text
    return text if len(text) <= 60 else f"{text[:59]}…"
