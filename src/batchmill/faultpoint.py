"""Named points on the way of a batch at which a test can cut the power.

``BATCHMILL_FAULT=name`` (or ``name:3`` for the third passing) kills the
process with SIGKILL there. ``BATCHMILL_FAULT=@file`` takes the order from a
file that may come later: ``name:3``, and after a space ``process``, ``group``
(kill every process of the server) or ``stop`` (SIGSTOP, to be continued from
outside). The file is removed before the order is carried out, so that an
order counts once. Without the variable passing a point costs a call.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

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


def _kill_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_group() -> None:
    os.killpg(0, signal.SIGKILL)


def _stop_process() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


_WAYS = {"process": _kill_process, "group": _kill_group, "stop": _stop_process}


class Order:
    """What is to happen where: ``name``, ``name:count``, and maybe a way after a space."""

    def __init__(self, text: str) -> None:
        spec, _, way = text.partition(" ")
        self.name, _, count = spec.partition(":")
        if self.name not in POINTS:
            raise ValueError(f"BATCHMILL_FAULT names no fault point: {self.name!r}")
        self._left = int(count or 1)
        self.carry_out = _WAYS[way or "process"]

    def is_due(self, point: str) -> bool:
        """Whether ``point``, which is passed now, is the one; counts it."""
        if point != self.name:
            return False
        self._left -= 1
        return self._left == 0


class OrderFile:
    """The order in a file, read again whenever another one is put there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = 0
        self._order: Order | None = None

    def passed(self, point: str) -> None:
        """A point is passed: carry the order out if it is due, and take the file away first."""
        try:
            written = self._path.stat().st_mtime_ns
            if written != self._seen:
                self._order, self._seen = Order(self._path.read_text()), written
        except FileNotFoundError:
            return
        if self._order is not None and self._order.is_due(point):
            self._path.unlink()
            self._order.carry_out()


def _arm(spec: str) -> Callable[[str], None]:
    if spec.startswith("@"):
        return OrderFile(Path(spec[1:])).passed
    order = Order(spec)

    def passing(point: str) -> None:
        if order.is_due(point):
            order.carry_out()

    return passing


def _unarmed(_point: str) -> None:
    return


_spec = os.environ.get("BATCHMILL_FAULT")
passed: Callable[[str], None] = _arm(_spec) if _spec else _unarmed
