"""Tables of Markdown."""

from collections.abc import Collection, Sequence

FIRST = frozenset({0})


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, texts: Collection[int] = FIRST
) -> str:
    """A Markdown table, its columns aligned for reading as text too; ``texts`` stand left."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    rule = [
        "-" * width if at in texts else "-" * (width - 1) + ":" for at, width in enumerate(widths)
    ]
    return "".join(_row(cells, widths, texts) for cells in (heads, rule, *rows))


def _row(cells: Sequence[str], widths: Sequence[int], texts: Collection[int]) -> str:
    padded = [
        cell.ljust(width) if at in texts else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |\n"
