"""Usage as columns: the same four in shards and batches."""

from sqlalchemy import RowMapping

from batchmill.domain.usage import Usage


def usage_of(row: RowMapping) -> Usage:
    """The Usage in a row. ``int`` because PostgreSQL sums to a Decimal."""
    return Usage(
        input=int(row["input_tokens"]),
        output=int(row["output_tokens"]),
        cached=int(row["cached_tokens"]),
        reasoning=int(row["reasoning_tokens"]),
    )


def columns_of(usage: Usage) -> dict[str, int]:
    """The columns that hold ``usage``."""
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cached_tokens": usage.cached,
        "reasoning_tokens": usage.reasoning,
    }
