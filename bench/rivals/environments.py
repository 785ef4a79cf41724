"""The rivals' environments: made by pip on first use, in a cache folder, with pinned versions."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

INSTALL_SECONDS = 600
READY = "installed"


@dataclass(frozen=True)
class Environment:
    """An interpreter that has a rival; or, where there is none, why."""

    python: Path | None
    remark: str = ""


def cache_folder() -> Path:
    """Where environments are kept from run to run."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "batchmill-bench"


def prepare(requirement: str, cache: Path) -> Environment:
    """The environment of one pinned ``requirement``, made where it is missing."""
    folder = cache / requirement.replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / READY).exists():
        failure = _make(requirement, folder, python)
        if failure:
            return Environment(None, failure)
        (folder / READY).touch()
    return Environment(python)


def _make(requirement: str, folder: Path, python: Path) -> str:
    """Make it; why it could not be made, empty where it was."""
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", requirement],
    ):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return f"was not installed in {INSTALL_SECONDS} s"
        if done.returncode:
            return f"cannot be installed here: {_last_error(done.stderr)}"
    return ""


def _last_error(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("ERROR:")] or ["no reason given"]
    return lines[-1].removeprefix("ERROR:").strip()
