"""Who asks. Every use-case takes a Caller and sees nothing of other accounts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The account on whose behalf a use-case runs."""

    account: str = "default"
