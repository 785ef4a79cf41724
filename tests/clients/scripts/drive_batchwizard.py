"""batchwizard: its command line, as a person types it; prints what it left on disk."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = [str(Path(sys.executable).with_name("batchwizard"))]
WIDE = {"COLUMNS": "200", "TERM": "dumb"}


def batchwizard(*words: str) -> str:
    done = subprocess.run(
        [*COMMAND, *words], env={**os.environ, **WIDE}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def main(path: str) -> dict[str, Any]:
    batchwizard("process", path, "--output-directory", "done", "--check-interval", "1")
    submitted = batchwizard("submit", path)
    batchwizard("watch", "--output-directory", "later", "--check-interval", "1")
    return {
        "processed": [read(one) for one in Path("done").iterdir()],
        "watched": [read(one) for one in Path("later").iterdir()],
        "submitted": submitted,
        "listed": batchwizard("list-jobs", "--limit", "2"),
        "status": batchwizard("status", "--all"),
        "too late": batchwizard("cancel", batch_id(next(Path("done").iterdir()))),
    }


def batch_id(results: Path) -> str:
    return results.name.removesuffix("_results.jsonl")


def read(results: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    return {"name": results.name, "lines": lines}


json.dump(main(sys.argv[1]), sys.stdout)
