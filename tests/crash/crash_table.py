"""The figures of a cut at a fault point, as a test records them and as a page shows them."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from batchmill.faultpoint import POINTS

PROPERTY = "crash_row"
KILLED = {"process": "the process", "group": "the whole server"}
COLUMNS = [
    "fault point",
    "killed",
    "lines",
    "settled before",
    "sent again",
    "in the files, once",
    "all promises held",
]


@dataclass(frozen=True)
class Row:
    """What came of one cut; the figures are lines."""

    point: str
    way: str
    settled: int
    sent_again: int
    delivered: int

    def dump(self) -> str:
        """The row as a test records it."""
        return json.dumps(asdict(self))


def load_row(text: str) -> Row:
    """The row that a test recorded."""
    return Row(**json.loads(text))


def cells_of(rows: Iterable[Row], lines: int) -> list[list[str]]:
    """The rows as a page shows them, in the order of the points."""
    ranked = sorted(rows, key=lambda row: (POINTS.index(row.point), row.way != "process"))
    return [
        [
            f"`{row.point}`",
            KILLED[row.way],
            str(lines),
            str(row.settled),
            str(row.sent_again),
            str(row.delivered),
            "yes",
        ]
        for row in ranked
    ]
