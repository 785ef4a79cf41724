"""The database: everything that knows SQL, one module per noun."""

from batchmill.store.sql import SqlStore, open_store

__all__ = ["SqlStore", "open_store"]
