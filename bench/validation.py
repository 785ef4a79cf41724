"""The validation of one file, and what it is measured against; prints CPU seconds of each.

Takes the file and the model that it asks for. ``decode`` decodes every line whole
with the same library.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from batchmill.domain.catalog import Catalog
from batchmill.domain.limits import PROFILES, Profile
from batchmill.domain.lines import FileCheck, LineCutter, LineRules
from batchmill.engine.planning import LEAVE_BYTES, next_piece

CHUNK = 1024 * 1024
ENDPOINT = "/v1/chat/completions"


def validate(path: Path, model: str) -> None:
    """All that planning does with the bytes, but for making shards."""
    limits = PROFILES[Profile.QWEN]
    catalog = Catalog({model: frozenset({ENDPOINT})})
    check = FileCheck(LineRules(ENDPOINT, catalog, Profile.QWEN, limits))
    cutter = LineCutter(limits.max_line_bytes)
    with path.open("rb", buffering=0) as file:
        while piece := next_piece(file.fileno(), cutter):
            check.check_chunk(cutter, piece, leave=LEAVE_BYTES)
        check.check_all(cutter.finish())
    errors = check.finish()
    assert not errors, errors[:3]


def decode(path: Path) -> None:
    """Decode every line whole."""
    decoder = msgspec.json.Decoder()
    with path.open("rb", buffering=CHUNK) as file:
        while lines := file.readlines(CHUNK):
            for line in lines:
                decoder.decode(line)


def cpu_of(work: Callable[[], None]) -> float:
    """CPU seconds of ``work``."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main(path: Path, model: str) -> None:
    """Print the figures as JSON."""
    figures = {
        "batchmill": cpu_of(lambda: validate(path, model)),
        "decode": cpu_of(lambda: decode(path)),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
