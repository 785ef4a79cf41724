"""Processes are killed at random while a batch runs; a seed decides which, and when."""

import random
from dataclasses import dataclass

from crash_batch import Trial, read_all_files, revive
from crash_server import ROLES, Server
from crash_upstream import Upstream

TARGETS = (*ROLES, "all", "engine", "supervisor then api", "api then supervisor")


@dataclass(frozen=True)
class Ordeal:
    """A batch of so many lines, and so many strikes."""

    seed: int
    lines: int
    strikes: int


def endure(ordeal: Ordeal, server: Server, upstream: Upstream) -> None:
    """Put a batch of ``server`` through it, and hold what comes of it against the promises."""
    rng = random.Random(ordeal.seed)
    trial = Trial(f"random-{ordeal.seed}", ordeal.lines, server, upstream)
    trial.submit()
    for _ in range(ordeal.strikes):
        upstream.wait_for_more(rng.randint(20, 100))
        _strike(server, rng.choice(TARGETS))
        upstream.hold()  # what is still alive would end the batch before the next kill
        trial.gather_evidence()
        revive(server)
        upstream.release()
    trial.check()
    assert read_all_files(server.client)
    server.stop()


def _strike(server: Server, target: str) -> None:
    """Kill what ``target`` names; the second of two while the first is being replaced."""
    if target == "all":
        server.kill_all()
        return
    for role in target.split(" then "):
        server.kill_any(role)
