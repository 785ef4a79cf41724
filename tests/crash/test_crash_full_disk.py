"""The disk is full in each step of a batch: it waits, and goes on when there is room."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from crash_batch import Trial, ask, post_file, read_all_files, write_input
from crash_disk import SmallDisk, mounted
from crash_server import SLOTS, Server, serving
from crash_upstream import Upstream, upstream_running
from crash_waiting import wait_until

from batchmill.upstream.mock import Script

LINES = 120


@dataclass
class Site:
    """A server on a small disk."""

    server: Server
    upstream: Upstream
    disk: SmallDisk

    def trial(self, name: str) -> Trial:
        return Trial(name, LINES, self.server, self.upstream)

    def fill_at(self, point: str, trial: Trial) -> int:
        """Fill the disk while the engine stands at ``point``; where its log ended then."""
        file_id = trial.upload()
        self.server.arm(f"{point} stop")
        trial.create(file_id)
        self.server.wait_for_fault()
        self.disk.fill()
        since = self.server.log_size()
        self.server.the("engine").resume()
        return since

    def wait_for_event(self, name: str, since: int) -> None:
        """Return when a process has logged this event after byte ``since`` of the log."""
        wait_until(lambda: self.has_event(name, since), f"{name} was logged", pause=0.05)

    def has_event(self, name: str, since: int) -> bool:
        return any(event["event"] == name for event in self.server.events(since))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("full")
    with (
        mounted(folder / "data") as disk,
        upstream_running(Script(latency=0.01)) as upstream,
        serving(folder, upstream.url) as server,
    ):
        yield Site(server, upstream, disk)


def test_an_upload_that_does_not_fit_is_refused_and_leaves_nothing(site: Site) -> None:
    client = site.server.client
    site.disk.fill()
    answer = post_file(client, "too-much", write_input("too-much", 1000))
    assert answer.status_code == 507
    error = answer.json()["error"]
    assert "disk is full" in error["message"]
    assert error["type"] == "server_error"
    assert "too-much" not in read_all_files(client)
    site.disk.free()
    assert post_file(client, "fits", write_input("fits", 1000)).status_code == 200


def test_a_batch_that_cannot_be_stored_is_refused(site: Site) -> None:
    trial = site.trial("unstored")
    file_id = trial.upload()
    site.disk.fill()
    body = {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    answer = site.server.client.post("/batches", json=body)
    assert answer.status_code == 507
    assert "disk is full" in answer.json()["error"]["message"]
    assert all(b["input_file_id"] != file_id for b in ask_batches(site))
    site.disk.free()
    trial.create(file_id)
    trial.check()


def ask_batches(site: Site) -> list[dict[str, object]]:
    return list(ask(site.server.client, "/batches?limit=100").json()["data"])


@pytest.mark.parametrize(
    ("point", "event", "status"),
    [
        ("plan.before_stored", "storage_full", "validating"),
        ("line.after_answer:30", "storage_full", "in_progress"),
        ("shard.before_closed", "shard_lost", "in_progress"),
        ("deliver.before_output", "storage_full", "finalizing"),
        ("deliver.after_output", "storage_full", "finalizing"),
        ("deliver.after_error", "storage_full", "finalizing"),
    ],
)
def test_a_batch_waits_for_room_and_nothing_is_sent_twice(
    site: Site, point: str, event: str, status: str
) -> None:
    trial = site.trial(f"full-{point}")
    since = site.fill_at(point, trial)
    site.wait_for_event(event, since)
    assert trial.get()["status"] == status
    trial.gather_evidence()
    site.disk.free()
    trial.check()
    assert not trial.sent_again()
    assert site.server.is_whole()
    assert "says hello" not in site.server.log.read_text()


def test_an_engine_that_dies_on_a_full_disk_comes_back_when_there_is_room(site: Site) -> None:
    trial = site.trial("dies-full")
    site.upstream.hold()
    trial.submit()
    site.upstream.wait_until(lambda stats: stats.held == SLOTS)
    site.disk.fill()
    since = site.server.log_size()
    site.server.kill("engine")
    trial.gather_evidence()
    site.upstream.release()
    wait_until(lambda: count_deaths(site, since) >= 2, "the engine tried to come back")
    assert ask(site.server.client, "/models").status_code == 200
    site.disk.free()
    trial.check()
    wait_until(site.server.is_whole, "all three are back")


def count_deaths(site: Site, since: int) -> int:
    """How often an engine died after byte ``since`` of the log."""
    deaths = [event for event in site.server.events(since) if event["event"] == "child_died"]
    return sum(event["process"] == "engine" for event in deaths)
