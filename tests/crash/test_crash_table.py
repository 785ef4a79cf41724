"""The page on crash safety shows what was tried: every point, in every way."""

from pathlib import Path

from crash_table import KILLED

from batchmill.faultpoint import POINTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "crash-safety.md"


def test_the_table_has_a_row_for_every_point_and_way() -> None:
    page = PAGE.read_text(encoding="utf-8")
    part = page.partition("<!-- generated: fault points -->")[2].partition("<!-- end of")[0]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| `")]
    shown = [(point.strip("`"), killed, held) for point, killed, *_, held in rows]
    assert shown == [(point, killed, "yes") for point in POINTS for killed in KILLED.values()]
