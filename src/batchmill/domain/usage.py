"""Usage: the tokens of a result by kind, and sums of them."""

import msgspec


class Usage(
    msgspec.Struct, frozen=True, gc=False, array_like=True
):  # a Struct: made several times a line, at a fifth of the cost
    """Token counts. ``cached`` is a part of ``input``, ``reasoning`` a part of ``output``."""

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input + self.output

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            self.reasoning + other.reasoning,
        )


ZERO = Usage()
