"""What holds for every test: no deadlines, and the figures that tests record told at the end."""

import gc
import json
from collections.abc import Iterator

import pytest
from hypothesis import settings

# A deadline would be a timed assertion on a machine that others use too.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

ROW = "crash_row"
CLUSTER_ROW = "cluster_row"


def pytest_collection_finish() -> None:
    """Have the collector leave out what lives to the end: modules, tests and their parameters.

    It looked at all of it again and again: a part of the suite took 79 seconds instead of 67.
    """
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what came of each fault point, whichever worker cut the power there."""
    rows = sorted(_rows(terminalreporter, ROW))
    if rows:
        terminalreporter.section("fault points: lines settled before, sent again, delivered")
    for row in rows:
        point, killed, *figures = row
        terminalreporter.write_line(
            f"{point:<24}{killed:<18}{''.join(f'{figure:>6}' for figure in figures)}"
        )
    costs = sorted(_rows(terminalreporter, CLUSTER_ROW))
    if costs:
        terminalreporter.section("cluster: full again after s, longest pause s, lines, sent again")
    for fault, *figures in costs:
        terminalreporter.write_line(f"{fault:<42}{''.join(f'{one:>8}' for one in figures)}")


def _rows(terminalreporter: pytest.TerminalReporter, kind: str) -> Iterator[list[str]]:
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == kind:
                yield [str(cell) for cell in json.loads(value).values()]
