"""The power is cut at every fault point: for the one process that passes it, and for all.

One server is used for all points, as its operator would: what an earlier cut
left behind is there when the next one comes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from crash_batch import Trial, post_file, read_all_files, revive, upload, write_input
from crash_server import Server, serving
from crash_table import PROPERTY, Row
from crash_upstream import Upstream, upstream_running
from crash_waiting import wait_until

from batchmill.faultpoint import POINTS
from batchmill.upstream.mock import Script

LINES = 120
LATENCY = 0.02

# At which passing: late enough that some of the batch is durable, and some is not.
PASSING = {
    "line.before_sent": 70,
    "line.after_answer": 60,
    "segment.before_durable": 6,
    "segment.after_durable": 6,
    "shard.before_closed": 2,
    "shard.after_closed": 2,
}


@dataclass
class House:
    server: Server
    upstream: Upstream

    def trial(self, name: str, lines: int = LINES) -> Trial:
        if self.server.is_gone():
            self.server.start()
        return Trial(name, lines, self.server, self.upstream)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("points")
    script = Script(latency=LATENCY)
    with upstream_running(script) as upstream, serving(folder, upstream.url) as server:
        yield House(server, upstream)


@pytest.fixture(autouse=True)
def calm(house: House) -> Iterator[None]:
    yield
    house.server.disarm()
    house.upstream.release()


def cut(trial: Trial, order: str) -> None:
    """Run the batch into the fault, note what is durable, and bring the server back."""
    file_id = trial.upload()
    trial.server.arm(order)
    trial.create(file_id)
    trial.server.wait_for_fault()
    trial.gather_evidence()
    revive(trial.server)


def cut_upload(trial: Trial, order: str) -> None:
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


def cuts() -> Iterator[Any]:
    """Every point in both ways; a short run takes the one way and the other in turns."""
    for place, point in enumerate(POINTS):
        for way in ("process", "group"):
            is_slow = (way == "group") is (place % 2 == 0)
            yield pytest.param(point, way, marks=[pytest.mark.slow] * is_slow)


@pytest.mark.parametrize(("point", "way"), list(cuts()))
def test_nothing_is_lost_repeated_or_mixed_up_when_the_power_is_cut(
    house: House, point: str, way: str, request: pytest.FixtureRequest
) -> None:
    trial = house.trial(f"{point}-{way}")
    run = cut_upload if point.startswith("upload.") else cut
    run(trial, f"{point}:{PASSING.get(point, 1)} {way}")
    batch = trial.check()
    (evidence,) = trial.evidence
    if way == "group":  # all were dead while the evidence was gathered: it is exact
        assert trial.sent_again() <= evidence.hits.keys() - evidence.settled
        assert batch["batchmill"]["resent_lines"] == len(evidence.marked - evidence.settled)
    assert read_all_files(house.server.client)
    total = batch["request_counts"]["total"]
    row = Row(point, way, len(evidence.settled), len(trial.sent_again()), total)
    request.node.user_properties.append((PROPERTY, row.dump()))


def test_the_journals_of_ended_batches_are_swept(house: House) -> None:
    trial = house.trial("swept", lines=20)
    trial.server.arm("deliver.after_stored group")
    trial.submit()
    trial.server.wait_for_fault()
    assert (house.server.data / "journal" / trial.id).exists()
    revive(house.server)
    journals = house.server.data / "journal"
    wait_until(lambda: not list(journals.iterdir()), "the journals are gone")
    trial.check()


def test_the_bytes_of_an_upload_that_was_cut_off_are_swept(house: House) -> None:
    server = house.trial("partial").server
    server.arm("upload.before_blob group")
    with pytest.raises(httpx2.TransportError):
        post_file(server.client, "partial", write_input("partial", 20_000))
    wait_until(server.is_gone, "all are dead")
    assert half_written(server)
    server.start()
    wait_until(lambda: not half_written(server), "the partial bytes are gone")


def half_written(server: Server) -> list[Path]:
    """Files of unfinished blobs that hold bytes."""
    partials = (server.data / "blobs" / ".partial").rglob("*")
    return [path for path in partials if path.is_file() and path.stat().st_size]
