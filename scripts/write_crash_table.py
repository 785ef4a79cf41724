#!/usr/bin/env python3
"""Runs the tests that cut the power at every fault point, and renews the table of their figures.

It takes minutes, and so it is not among what ``gen_all.py`` runs.
"""

import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS.parent / "tests" / "crash")]

from crash_table import COLUMNS, PROPERTY, Row, cells_of, load_row  # noqa: E402
from gen_marker import ROOT, fill, table, write  # noqa: E402

PAGE = ROOT / "docs" / "explanation" / "crash-safety.md"
TESTS = "tests/crash/test_crash_points.py"
LINES = 120


class Figures:
    """A plugin that keeps the rows which the tests record."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a test that has passed recorded."""
        if report.when == "call" and report.passed:
            recorded = dict(report.user_properties)
            self.rows += [load_row(str(recorded[PROPERTY]))] if PROPERTY in recorded else []


def main() -> int:
    """Run the tests; the page is left as it is unless all of them pass."""
    figures = Figures()
    code = pytest.main([str(ROOT / TESTS), "-q"], plugins=[figures])
    if code == 0:
        part = table(COLUMNS, cells_of(figures.rows, LINES))
        write(PAGE, fill(PAGE, "fault points", part))
    return code


if __name__ == "__main__":
    sys.exit(main())
