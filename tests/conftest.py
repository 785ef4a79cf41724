"""What a whole run tells at its end: the figures that tests have recorded, as a table."""

import json
from collections.abc import Iterator

import pytest

ROW = "crash_row"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what came of each fault point, whichever worker cut the power there."""
    rows = sorted(_rows(terminalreporter))
    if rows:
        terminalreporter.section("fault points: lines settled before, sent again, delivered")
    for row in rows:
        point, killed, *figures = row
        terminalreporter.write_line(
            f"{point:<24}{killed:<18}{''.join(f'{figure:>6}' for figure in figures)}"
        )


def _rows(terminalreporter: pytest.TerminalReporter) -> Iterator[list[str]]:
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == ROW:
                yield [str(cell) for cell in json.loads(value).values()]
