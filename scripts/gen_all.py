#!/usr/bin/env python3
"""Writes every generated page and part of a page anew."""

import runpy
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent


def main() -> None:
    """Run every generator beside this file."""
    for script in sorted(SCRIPTS.glob("gen_*.py")):
        if script.name != Path(__file__).name:
            runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
