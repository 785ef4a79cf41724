"""The database: everything that knows SQL, one module per noun."""
