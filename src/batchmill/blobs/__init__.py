"""The bytes behind files."""
