"""The table of fault points: one row for each point and each way to die there.

The tests print it and check only that its rows hold; the documentation keeps a
copy, which ``scripts/gen_crash_table.py`` renews.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

PROPERTY = "crash_row"
KILLED = {"process": "the process", "group": "the whole server"}
_HEAD = ("fault point", "killed", "settled before", "sent again", "in the files", "holds")


@dataclass(frozen=True)
class Row:
    """What came of one cut: figures in lines."""

    point: str
    way: str
    settled: int
    sent_again: int
    delivered: int

    def to_json(self) -> dict[str, Any]:
        """The row as a test reports it."""
        return asdict(self)


def render(rows: Iterable[Row], order: Sequence[str]) -> str:
    """The rows as a table in Markdown, in the order of the points."""
    ranked = sorted(rows, key=lambda row: (order.index(row.point), row.way))
    cells = [
        (f"`{point}`", KILLED[way], str(settled), str(again), str(delivered), "yes")
        for point, way, settled, again, delivered in map(astuple, ranked)
    ]
    widths = [max(map(len, column)) for column in zip(_HEAD, *cells, strict=True)]
    lines = [_join(_HEAD, widths), _join(tuple("-" * width for width in widths), widths)]
    return "\n".join([*lines, *(_join(row, widths) for row in cells)]) + "\n"


def _join(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"
