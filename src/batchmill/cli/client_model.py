"""The server's objects as far as the verbs read them.

Lenient on purpose: what a server leaves out or adds does no harm, so that the
verbs work with every server of this interface. Its words go through
``printable`` before a person sees them.
"""

from typing import Final

import msgspec

TERMINAL: Final = frozenset({"completed", "failed", "expired", "cancelled"})


class Counts(msgspec.Struct, frozen=True):
    """How many requests there are, and what became of them."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class Tokens(msgspec.Struct, frozen=True):
    """What a batch used."""

    input_tokens: int = 0
    output_tokens: int = 0


class Fault(msgspec.Struct, frozen=True):
    """Why an input file was refused; ``line`` None is the whole file."""

    message: str = ""
    code: str | None = None
    line: int | None = None


class Faults(msgspec.Struct, frozen=True):
    """The list of them."""

    data: list[Fault] | None = None


class Progress(msgspec.Struct, frozen=True):
    """How a batch gets on; None where it cannot be told."""

    lines_per_second: float | None = None
    eta_seconds: float | None = None
    queue_position: int | None = None
    waits_for: str | None = None


class Cost(msgspec.Struct, frozen=True):
    """What a batch costs, as the server writes it."""

    currency: str = ""
    price: str = ""


class Additions(msgspec.Struct, frozen=True):
    """What batchmill tells beyond the interface."""

    progress: Progress | None = None
    cost: Cost | None = None


class Batch(msgspec.Struct, frozen=True):
    """A batch."""

    id: str
    status: str
    created_at: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: Counts | None = None
    usage: Tokens | None = None
    errors: Faults | None = None
    metadata: dict[str, str] | None = None
    batchmill: Additions | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing follows."""
        return self.status in TERMINAL

    @property
    def is_good(self) -> bool:
        """Whether every request succeeded."""
        return self.status == "completed" and self.counts.failed == 0

    @property
    def is_refused(self) -> bool:
        """Whether it ended before anything was made."""
        return self.status == "failed" and not (self.output_file_id or self.error_file_id)

    @property
    def counts(self) -> Counts:
        """The counts, zeros where the server tells none."""
        return self.request_counts or Counts()

    @property
    def faults(self) -> list[Fault]:
        """Why the input was refused, line by line."""
        return (self.errors.data if self.errors else None) or []

    @property
    def progress(self) -> Progress:
        """How it gets on, as far as the server tells."""
        return (self.batchmill.progress if self.batchmill else None) or Progress()

    @property
    def cost(self) -> Cost | None:
        """What it costs, where it is priced."""
        return self.batchmill.cost if self.batchmill else None

    @property
    def name(self) -> str:
        """The name that it was submitted with."""
        return (self.metadata or {}).get("ds_name", "")


class File(msgspec.Struct, frozen=True):
    """A file."""

    id: str
    bytes: int = 0
    created_at: int = 0
    filename: str = ""
    purpose: str = ""


class Listing(msgspec.Struct, frozen=True):
    """A page of a list, its objects as they came; some servers say null for nothing."""

    data: list[msgspec.Raw] | None = None
    has_more: bool = False


class Named(msgspec.Struct, frozen=True):
    """Anything with an id."""

    id: str


def printable(text: str) -> str:
    """The text with escapes in the place of control characters."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
