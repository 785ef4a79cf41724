"""The database: everything that knows SQL, one module per noun."""

from batchmill.store.schema import NEWEST, Schema
from batchmill.store.sql import SqlStore, open_store
from batchmill.store.upgrade import migrate_store, read_schema

__all__ = ["NEWEST", "Schema", "SqlStore", "migrate_store", "open_store", "read_schema"]
