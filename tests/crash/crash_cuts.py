"""The power is cut at a fault point while a batch is under way, and all must hold nevertheless."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from crash_batch import Trial, post_file, read_all_files, revive, upload, write_input
from crash_server import Server, serving
from crash_stores import Stores
from crash_table import Row
from crash_upstream import Upstream, upstream_running
from crash_waiting import wait_until

from batchmill.upstream.mock import Script

LINES = 120


@dataclass
class House:
    """A server and its upstream, for one cut after the other."""

    server: Server
    upstream: Upstream

    def trial(self, name: str, lines: int = LINES) -> Trial:
        """A batch of the server, which is started again if need be."""
        if self.server.is_gone():
            self.server.start()
        return Trial(name, lines, self.server, self.upstream)

    def calm(self) -> None:
        """Undo what a test left that failed."""
        self.server.disarm()
        self.upstream.release()


@contextmanager
def open_house(folder: Path, latency: float, shared: Stores | None = None) -> Iterator[House]:
    """A house whose upstream takes ``latency`` seconds for an answer."""
    script = Script(latency=latency)
    with (
        upstream_running(script) as upstream,
        serving(folder, upstream.url, shared) as server,
    ):
        yield House(server, upstream)


def cut_the_power(house: House, point: str, way: str, passing: int = 1) -> Row:
    """Cut it at that passing of ``point``, and hold what comes of it against the promises."""
    trial = house.trial(f"{point}-{way}")
    run = _cut_upload if point.startswith("upload.") else _cut
    run(trial, f"{point}:{passing} {way}")
    batch = trial.check()
    (evidence,) = trial.evidence
    if way == "group":  # all were dead while the evidence was gathered: it is exact
        assert trial.sent_again() <= evidence.hits.keys() - evidence.settled
        assert batch["batchmill"]["resent_lines"] == len(evidence.marked - evidence.settled)
    assert read_all_files(house.server.client)
    total = batch["request_counts"]["total"]
    return Row(point, way, len(evidence.settled), len(trial.sent_again()), total)


def _cut(trial: Trial, order: str) -> None:
    """Run the batch into the fault, note what is durable, and bring the server back."""
    file_id = trial.upload()
    trial.server.arm(order)
    trial.create(file_id)
    trial.server.wait_for_fault()
    trial.gather_evidence()
    revive(trial.server)


def _cut_upload(trial: Trial, order: str) -> None:
    """Run an upload into the fault while the batch is under way."""
    server, upstream = trial.server, trial.upstream
    upstream.hold()
    trial.submit()
    upstream.wait_until(lambda stats: stats.held > 0)
    server.arm(order)
    with pytest.raises(httpx2.TransportError):
        post_file(server.client, f"lost-{trial.name}", b"{}\n")
    server.wait_for_fault()
    upstream.release()
    trial.gather_evidence()
    revive(server)
    assert f"lost-{trial.name}" not in read_all_files(server.client)
    content = write_input("again", 3)
    upload(server.client, f"again-{trial.name}", content)
    assert read_all_files(server.client)[f"again-{trial.name}"] == content


def end_unswept(house: House) -> None:
    """A batch ends, and the power is cut before its journal is gone: it goes afterwards."""
    trial = house.trial("swept", lines=20)
    trial.server.arm("deliver.after_stored group")
    trial.submit()
    trial.server.wait_for_fault()
    assert trial.id in house.server.stores.journals()
    revive(house.server)
    wait_until(lambda: not house.server.stores.journals(), "the journals are gone", pause=0.05)
    trial.check()
