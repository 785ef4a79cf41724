"""Where ``check --price`` looks: what ``check`` and ``check_price`` both know."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """Where ``--price`` finds prices and tokenizers."""

    config: Path | None = None
    prices: Path | None = None
    upstream: str | None = None
    upstream_key_env: str | None = None
