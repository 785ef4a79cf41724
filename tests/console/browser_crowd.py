"""A store with very many batches and files: copies of one of each, made where they lie."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

SECONDS_APART = 60.0


def crowd(data: Path, count: int) -> None:
    """Have so many batches and input files more, each older than the one before.

    The server of the data folder is not running, and has at least one of each.
    """
    with closing(sqlite3.connect(data / "batchmill.sqlite3")) as store, store:
        _multiply(store, "files", count, ["created_at"])
        _multiply(store, "batches", count, ["created_at", "expires_at"])


def _multiply(store: sqlite3.Connection, table: str, count: int, times: Sequence[str]) -> None:
    columns = [row[1] for row in store.execute(f"PRAGMA table_info({table})") if row[1] != "seq"]
    first = store.execute(f"SELECT min(seq) FROM {table}").fetchone()[0]
    changed = {name: f"{name} - {SECONDS_APART} * step" for name in times}
    changed["id"] = "substr(id, 1, length(id) - 6) || printf('%06x', step)"
    wanted = ", ".join(changed.get(name, name) for name in columns)
    # The newest stand last, as they would have come in.
    store.execute(
        f"WITH RECURSIVE steps(step) AS (SELECT :count UNION ALL SELECT step - 1 FROM steps "
        f"WHERE step > 1) INSERT INTO {table} ({', '.join(columns)}) "
        f"SELECT {wanted} FROM steps, {table} WHERE seq = :first",
        {"count": count, "first": first},
    )
