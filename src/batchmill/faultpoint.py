"""Named points on the way of a batch at which a test can cut the power.

``BATCHMILL_FAULT=name`` (or ``name:3`` for the third passing) kills the
process with SIGKILL there, as a power cut would. Without the variable passing
a point costs a call.
"""

import os
import signal
from collections.abc import Callable

POINTS = (
    "upload.before_blob",
    "upload.after_blob",
    "plan.before_stored",
    "plan.after_stored",
    "line.before_sent",
    "line.after_answer",
    "segment.before_durable",
    "segment.after_durable",
    "shard.before_closed",
    "shard.after_closed",
    "deliver.before_output",
    "deliver.after_output",
    "deliver.after_error",
    "deliver.after_stored",
)


def _arm(spec: str) -> Callable[[str], None]:
    name, _, count = spec.partition(":")
    if name not in POINTS:
        raise ValueError(f"BATCHMILL_FAULT names no fault point: {name!r}")
    left = int(count or 1)

    def passing(point: str) -> None:
        nonlocal left
        if point == name:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return passing


def _unarmed(_point: str) -> None:
    return


_spec = os.environ.get("BATCHMILL_FAULT")
passed: Callable[[str], None] = _arm(_spec) if _spec else _unarmed
