"""What processes hold of the memory, looked at again and again on a thread.

PSS counts a page that several processes share in parts, so that the sum over
processes is what the machine gives; RSS counts it in full for each of them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

MB = 1_000_000
LOOK_SECONDS = 0.05
_FIELD = re.compile(rb"^(Pss|Rss): +(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class Hold:
    """Bytes that several processes hold together; ``parts`` is the PSS of each."""

    pss: int
    rss: int
    parts: Mapping[str, int]

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / MB:.0f}" for name, size in self.parts.items())
        return f"{self.pss / MB:.0f} MB ({parts}; RSS {self.rss / MB:.0f})"


def look(pids: Mapping[str, int]) -> Hold:
    """What the processes hold now; one that has gone holds nothing."""
    found = {name: _read(pid) for name, pid in pids.items()}
    return Hold(
        pss=sum(one.get("Pss", 0) for one in found.values()),
        rss=sum(one.get("Rss", 0) for one in found.values()),
        parts={name: one.get("Pss", 0) for name, one in found.items()},
    )


def _read(pid: int) -> dict[str, int]:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name.decode(): int(size) * 1024 for name, size in _FIELD.findall(text)}


@dataclass
class Meter:
    """The largest holds seen, by the phase that they were seen in."""

    phase: str = "start"
    peaks: dict[str, Hold] = field(default_factory=dict)
    looks: int = 0

    def note(self, hold: Hold) -> None:
        """Take a look into account."""
        self.looks += 1
        peak = self.peaks.get(self.phase)
        if peak is None or hold.pss > peak.pss:
            self.peaks[self.phase] = hold

    def largest(self) -> Hold:
        """The largest hold of all phases."""
        return max(self.peaks.values(), key=lambda hold: hold.pss)


@contextmanager
def metered(pids: Callable[[], Mapping[str, int]]) -> Iterator[Meter]:
    """Look all along at the processes that ``pids`` names at the time."""
    meter, ended = Meter(), Event()

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            meter.note(look(pids()))

    thread = Thread(target=watch)
    thread.start()
    try:
        yield meter
    finally:
        ended.set()
        thread.join()
