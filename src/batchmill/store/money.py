"""Amounts as columns: whole millionths of a currency, and the rest in units of 10^-15 of it.

A unit count of some thousands no longer fits into 64 bits; these two do, in a
row and summed over every row there will be. They are summed by the database
and joined here alone, so that no sum is ever rounded.
"""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, RowMapping, func

MONEY_COLUMNS = ("list_millionths", "list_rest", "price_millionths", "price_rest")

_UNITS_A_MILLIONTH = 1_000_000_000


def columns_of_prices(list_price: int, price: int) -> dict[str, int]:
    """The four columns of two amounts in units."""
    list_columns = divmod(list_price, _UNITS_A_MILLIONTH)
    return dict(
        zip(MONEY_COLUMNS, (*list_columns, *divmod(price, _UNITS_A_MILLIONTH)), strict=True)
    )


def prices_of(row: RowMapping) -> tuple[int, int]:
    """The list price and the price of a row, or of sums over rows; none is zero."""
    list_whole, list_rest, whole, rest = (int(row[name] or 0) for name in MONEY_COLUMNS)
    return list_whole * _UNITS_A_MILLIONTH + list_rest, whole * _UNITS_A_MILLIONTH + rest


def money_sums(table: FromClause) -> list[ColumnElement[Any]]:
    """The four columns summed, under their own names, for ``prices_of``."""
    return [func.sum(table.c[name]).label(name) for name in MONEY_COLUMNS]
