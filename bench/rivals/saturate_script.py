"""saturate's pump with a fixed window; all else as it is by itself.

Takes the input, the output, the base URL and the slots; prints the seconds and CPU seconds from
after its imports to its end, and how many answers its output holds. Run again it goes on.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from saturate import Fixed, pump, read_output


def rows(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The requests with their ids."""
    with source.open() as lines:
        for line in lines:
            request = json.loads(line)
            yield request["custom_id"], request


def to_request(row: dict[str, Any]) -> dict[str, Any]:
    """What is sent."""
    body: dict[str, Any] = row["body"]
    return body


def parse(_row: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """What is kept."""
    return {"answer": json.dumps(answer)}


def main(source: Path, target: Path, url: str, limit: int) -> None:
    """Answer every row that has no answer yet."""
    pump(
        rows(source),
        to_request=to_request,
        parse=parse,
        endpoint=url,
        output=str(target),
        window=Fixed(limit),
    )


if __name__ == "__main__":
    began, began_cpu = time.perf_counter(), time.process_time()
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    took, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    kept = {name for name, row in read_output(sys.argv[2]) if row.get("answer")}
    print(took, cpu, len(kept))
