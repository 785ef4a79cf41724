#!/usr/bin/env python3
"""Writes docs/licences.md: the licences of everything that batchmill needs to run.

Names and versions come from the lock files, licences from the installed
packages by pip-licenses. Run it after ./scripts/lock; a test fails while the
page is stale, or names a licence that does not go with Apache-2.0.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gen_marker import ROOT, table, write
from packaging.markers import Marker
from packaging.utils import canonicalize_name

PAGE = ROOT / "docs" / "licences.md"
LOCK = ROOT / "requirements.lock"
VENDOR = ROOT / "src" / "batchmill" / "console" / "static" / "vendor"
MODEL_LOCK = ROOT / "requirements-model.lock"

# What may be used in and shipped beside software under Apache-2.0; MPL-2.0 as a library only.
ALLOWED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSD",
        "ISC",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "PSF-2.0",
        "Unlicense",
        "Zlib",
    }
)

# How packages that do not speak SPDX call them.
_SPELLINGS = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd license": "BSD",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}

_PINNED = re.compile(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)(?: *; *([^\\]+?))? *\\?$", re.MULTILINE)

_VENDORED = re.compile(r"^\| \S+\.\w+ \| (\S+) \| (\S+) \| (\S+) \| [0-9a-f]{64} \|$", re.MULTILINE)

SHIPPED = """\
These are the only files of others that batchmill ships, unchanged, each with its licence, so that
a browser asks no other host for anything."""

INTRODUCTION = """\
# Licences

<!-- Written by scripts/gen_licences.py. -->

batchmill is under [Apache-2.0](../LICENSE). pip fetches the packages below; only those of the last
table are shipped with it. Each may be used with, and shipped beside, software under Apache-2.0.
"""


@dataclass(frozen=True)
class Package:
    """A pinned package that is installed here, and its licences in SPDX's names."""

    name: str
    version: str
    licences: tuple[str, ...]


def render() -> str:
    """The whole page."""
    needed, model = read_packages(LOCK), read_packages(MODEL_LOCK)
    return "\n".join(
        [
            INTRODUCTION,
            f"## What batchmill needs\n\n{_table(needed)}\n",
            f"## The optional built-in model\n\n{_table(model)}\n",
            f"## Inside the console's pages\n\n{SHIPPED}\n\n{_table(read_vendored())}\n",
        ]
    )


def read_packages(lock: Path) -> list[Package]:
    """The packages of a lock file that this platform takes; raises LookupError without one."""
    pinned = {
        canonicalize_name(name): version
        for name, version, marker in _PINNED.findall(lock.read_text(encoding="utf-8"))
        if not marker or Marker(marker).evaluate()
    }
    told = _ask(list(pinned))
    missing = pinned.keys() - told.keys()
    if missing:
        raise LookupError(f"not installed: {', '.join(sorted(missing))}; run ./scripts/install")
    return [Package(name, pinned[name], read_licences(told[name])) for name in sorted(pinned)]


def read_vendored() -> list[Package]:
    """The packages whose files the console ships, by the table that stands beside them."""
    rows = _VENDORED.findall((VENDOR / "README.md").read_text(encoding="utf-8"))
    found = {name: Package(name, version, (licence,)) for name, version, licence in rows}
    return [found[name] for name in sorted(found)]


def _ask(names: list[str]) -> dict[str, str]:
    """What pip-licenses says of the packages, by canonical name."""
    command = [sys.executable, "-m", "piplicenses", "--format=json", "--from=mixed", "--packages"]
    told = subprocess.run([*command, *names], check=True, capture_output=True).stdout
    return {canonicalize_name(row["Name"]): row["License"] for row in json.loads(told)}


def read_licences(told: str) -> tuple[str, ...]:
    """The licences in what a package says: an SPDX expression, or names with semicolons."""
    parts = re.split(r" AND | OR |;", told)
    return tuple(dict.fromkeys(_canonical(part) for part in parts))


def _canonical(part: str) -> str:
    name = " ".join(part.split())
    return _SPELLINGS.get(name.lower(), name)


def _table(packages: list[Package]) -> str:
    rows = [[one.name, one.version, ", ".join(one.licences)] for one in packages]
    return table(["Package", "Version", "Licence"], rows)


if __name__ == "__main__":
    write(PAGE, render())
