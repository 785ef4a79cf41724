"""What the validation is measured against: a C++ program with simdjson, made here and proven.

It has to refuse what batchmill's own check refuses. simdjson has a faster way, on demand, which
does not look at what it skips; with it all but the last of ``FLAWS`` passed.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from bench import inputs
from bench.processes import ROOT

PROGRAM: Final = ROOT / "bench" / "validation.cpp"
LINE_BYTES: Final = 600
# In what nobody asks for: a comma, a colon, a number and an escape that are no JSON, a second value
# on the line, and bytes that are not UTF-8.
FLAWS: Final = (
    (b'"user", ', b'"user" '),
    (b'"content": ', b'"content" '),
    (b'"max_tokens": 64', b'"max_tokens": 6.4.4'),
    (b'"content": "', b'"content": "\\q'),
    (b"}\n", b"} {}\n"),
    (b'"content": "', b'"content": "\xff'),
)


def compiled(folder: Path, model: str) -> Path | None:
    """The program that takes a file and the model; None where it cannot be made.

    Raises RuntimeError where it does not tell good lines from bad ones.
    """
    if not shutil.which("g++"):
        return None
    program = folder / "validation"
    command = ["g++", "-O3", "-std=c++17", str(PROGRAM), "-lsimdjson", "-o", str(program)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return None
    _prove(program, folder / "line.jsonl", model)
    return program


def _prove(program: Path, file: Path, model: str) -> None:
    inputs.write_requests(file, lines=1, line_bytes=LINE_BYTES, model=model)
    good = file.read_bytes()
    if not _passes(program, file, model):
        raise RuntimeError(f"{PROGRAM.name} refuses a good line.")
    for right, wrong in FLAWS:
        bad = good.replace(right, wrong, 1)
        file.write_bytes(bad)
        if bad == good or _passes(program, file, model):
            raise RuntimeError(f"{PROGRAM.name} lets {wrong!r} in the place of {right!r} pass.")


def _passes(program: Path, file: Path, model: str) -> bool:
    command = [str(program), str(file), model]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
