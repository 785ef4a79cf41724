"""Accounts, keys, limits, the ledger, webhooks. What there was belongs to the operator."""

import time
from typing import Any

import sqlalchemy as sa
from alembic import op

from batchmill.store.migrations import TEXT

revision = "0002"
down_revision = "0001"

SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
MONEY = ("list_millionths", "list_rest", "price_millionths", "price_rest")
OPERATOR = "default"
WORKSPACE = "ws_default"


def words(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=nullable) for name in names]


def numbers(*names: str, nullable: bool = False) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=nullable) for name in names]


def times(*names: str, nullable: bool = False) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Double(), nullable=nullable) for name in names]


def belongs(name: str, to: str) -> sa.Column[str]:
    return sa.Column(name, TEXT, sa.ForeignKey(to), nullable=False)


def create(name: str, *columns: sa.Column[Any]) -> None:
    seq = sa.Column("seq", SEQ, primary_key=True, autoincrement=True)
    identity = sa.Column("id", TEXT, nullable=False, unique=True)
    op.create_table(name, seq, identity, *columns, sqlite_autoincrement=True)


def upgrade() -> None:
    create_accounts()
    create_limits()
    create_ledger()
    create_webhooks()
    widen_batches()


def create_accounts() -> None:
    create("accounts", *words("name"), *times("created_at"))
    create(
        "workspaces",
        belongs("account", "accounts.id"),
        *words("name"),
        *numbers("is_default"),
        *times("created_at"),
    )
    op.create_index("ix_workspaces_account", "workspaces", ["account", "seq"])
    create(
        "api_keys",
        belongs("account", "accounts.id"),
        belongs("workspace", "workspaces.id"),
        *words("name", "role"),
        sa.Column("prefix", TEXT, nullable=False, unique=True),
        *words("digest"),
        *words("models", nullable=True),
        *times("created_at"),
        *times("expires_at", "revoked_at", "last_used_at", nullable=True),
    )
    op.create_index("ix_api_keys_account", "api_keys", ["account", "seq"])
    create("audit", *words("account", "actor", "action", "target", "detail"), *times("created_at"))
    op.create_index("ix_audit_newest", "audit", ["account", "created_at", "seq"])
    add_operator(time.time())


def add_operator(now: float) -> None:
    account = sa.table("accounts", *map(sa.column, ("id", "name", "created_at")))
    op.bulk_insert(account, [{"id": OPERATOR, "name": "Default", "created_at": now}])
    names = ("id", "account", "name", "is_default", "created_at")
    workspace = sa.table("workspaces", *map(sa.column, names))
    values = (WORKSPACE, OPERATOR, "Default", 1, now)
    op.bulk_insert(workspace, [dict(zip(names, values, strict=True))])


def create_limits() -> None:
    op.create_table(
        "rate_events",
        sa.Column("seq", SEQ, primary_key=True, autoincrement=True),
        *words("account", "rule"),
        *times("at"),
    )
    op.create_index("ix_rate_events_rule", "rate_events", ["account", "rule", "at"])
    create("reservations", *words("account"), *numbers("bytes"), *times("expires_at"))
    op.create_index("ix_reservations_account", "reservations", ["account", "expires_at"])
    op.create_table(
        "caps",
        *(sa.Column(name, TEXT, primary_key=True) for name in ("scope", "scope_id")),
        sa.Column("currency", TEXT, primary_key=True),
        *words("account", "limit"),
        *numbers("alert_percent", nullable=True),
        *words("alerted_month", nullable=True),
    )


def metered() -> list[sa.Column[Any]]:
    return [
        sa.Column("batch_id", TEXT, sa.ForeignKey("batches.id"), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("model", TEXT, primary_key=True),
        *words("account", "workspace"),
        *words("key_id", nullable=True),
        *times("at"),
        *numbers("hour"),
        *words("price_version"),
        *words("currency", nullable=True),
        *numbers("calls", "failures", "rejections", "millis", *TOKENS, *MONEY),
    ]


def create_ledger() -> None:
    create("price_tables", *words("text"), *times("created_at"))
    op.create_table("ledger", *metered())
    op.create_index("ix_ledger_account", "ledger", ["account", "hour"])
    op.create_index("ix_ledger_hour", "ledger", ["hour"])
    op.create_table(
        "ledger_items",
        sa.Column("batch_id", TEXT, sa.ForeignKey("batches.id"), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("model", TEXT, primary_key=True),
        sa.Column("item", TEXT, primary_key=True),
        *numbers("tokens", *MONEY),
        sqlite_with_rowid=False,
    )
    op.create_table("meters", *metered())
    op.create_index("ix_meters_account", "meters", ["account", "hour"])


def create_webhooks() -> None:
    create(
        "webhook_endpoints",
        *words("account", "name", "url", "event_types", "secret"),
        *words("old_secret", nullable=True),
        *times("old_secret_until", nullable=True),
        *times("created_at", "updated_at"),
        *numbers("failures"),
        *times("open_until", nullable=True),
    )
    of_account = ["account", "created_at", "seq"]
    op.create_index("ix_webhook_endpoints_account", "webhook_endpoints", of_account)
    create(
        "deliveries",
        *words("account", "event_id", "event_type", "subject"),
        *words("endpoint_id", nullable=True),
        *words("url", "payload"),
        *times("created_at"),
        *times("next_at", nullable=True),
        *numbers("attempts"),
        *times("delivered_at", "given_up_at", nullable=True),
        *numbers("last_status", nullable=True),
        *words("last_error", nullable=True),
    )
    op.create_index("ix_deliveries_due", "deliveries", ["next_at"])
    op.create_index("ix_deliveries_endpoint", "deliveries", ["endpoint_id", "created_at", "seq"])
    op.create_index("ix_deliveries_account", "deliveries", of_account)


def widen_batches() -> None:
    added: list[sa.Column[Any]] = [
        sa.Column("workspace", TEXT, nullable=False, server_default=WORKSPACE),
        sa.Column("price_version", TEXT, nullable=False, server_default="none"),
        *words("key_id", "allowed_models", "currency", "budget", "halt", nullable=True),
        *(sa.Column(n, sa.BigInteger(), nullable=False, server_default="0") for n in MONEY),
    ]
    for column in added:
        op.add_column("batches", column)
