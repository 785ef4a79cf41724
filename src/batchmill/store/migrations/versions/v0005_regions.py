"""The ledger says in which region lines were served: an entry more for each region."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from batchmill.store.migrations import TEXT

revision = "0005"
down_revision = "0004"

TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
MONEY = ("list_millionths", "list_rest", "price_millionths", "price_rest")
KEYS = {
    "ledger": ["batch_id", "position", "model", "region"],
    "ledger_items": ["batch_id", "position", "model", "region", "item"],
    "meters": ["batch_id", "position", "model", "region"],
}


def upgrade() -> None:
    for table in KEYS:
        if op.get_bind().dialect.name == "sqlite":
            rebuild(table)
        else:
            widen(table)
    # A release that joins entries and items without the region would count some of them twice.
    op.execute("UPDATE schema_terms SET oldest = '0005'")


def widen(table: str) -> None:
    op.add_column(table, region())
    op.drop_constraint(f"{table}_pkey", table, type_="primary")
    op.create_primary_key(f"{table}_pkey", table, KEYS[table])


def rebuild(table: str) -> None:
    """SQLite cannot change a primary key: the rows move to a table that has the new one."""
    moved = f"{table}_with_region"
    made = op.create_table(
        moved,
        *columns(table),
        sa.PrimaryKeyConstraint(*KEYS[table]),
        sqlite_with_rowid=table != "ledger_items",
    )
    kept = ", ".join(f'"{column.name}"' for column in made.c if column.name != "region")
    op.execute(f"INSERT INTO {moved} ({kept}) SELECT {kept} FROM {table}")  # noqa: S608 - our names
    op.drop_table(table)
    op.rename_table(moved, table)
    if table == "ledger":
        op.create_index("ix_ledger_hour", "ledger", ["hour"])
    if table != "ledger_items":
        op.create_index(f"ix_{table}_account", table, ["account", "hour"])


def columns(table: str) -> list[sa.Column[Any]]:
    named: list[sa.Column[Any]] = [
        sa.Column("batch_id", TEXT, sa.ForeignKey("batches.id"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        *words("model"),
        region(),
    ]
    if table == "ledger_items":
        return [*named, *words("item"), *numbers("tokens", *MONEY)]
    return [
        *named,
        *words("account", "workspace"),
        *words("key_id", nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        *numbers("hour"),
        *words("price_version"),
        *words("currency", nullable=True),
        *numbers("calls", "failures", "rejections", "millis", *TOKENS, *MONEY),
        sa.Column("retries", sa.BigInteger(), nullable=False, server_default="0"),
    ]


def region() -> sa.Column[str]:
    return sa.Column("region", TEXT, nullable=False, server_default="")


def words(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=nullable) for name in names]


def numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]
