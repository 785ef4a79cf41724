"""Two servers with a folder each over one PostgreSQL and one bucket, as two machines are."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from crash_batch import Trial, ask, read_journal, upload, write_input
from crash_outgrown import outgrown
from crash_server import ROLES, SLOTS, Server, serving
from crash_upstream import Upstream, upstream_running
from crash_waiting import wait_until

from batchmill.upstream.mock import Script

pytestmark = pytest.mark.slow


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_running(Script(latency=0.01)) as running:
        yield running


@pytest.fixture
def machines(upstream: Upstream, tmp_path: Path) -> Iterator[list[Server]]:
    with outgrown() as stores, ExitStack() as stack:
        yield [
            stack.enter_context(serving(tmp_path / name, upstream.url, stores, stop_grace=1))
            for name in ("first", "second")
        ]


def names_of(server: Server) -> list[object]:
    return [event["event"] for event in server.events()]


def leader_of(machines: list[Server]) -> tuple[Server, Server]:
    """Who leads, and who stands by."""
    wait_until(
        lambda: (
            all({"leadership_taken", "leadership_awaited"} & set(names_of(m)) for m in machines)
            and any("leadership_taken" in names_of(m) for m in machines)
        ),
        "it is settled who leads",
        pause=0.05,
    )
    told = ["leadership_taken" in names_of(server) for server in machines]
    assert sorted(told) == [False, True]
    return machines[told.index(True)], machines[told.index(False)]


def run_half(trial: Trial) -> None:
    """Submit it: some lines are durable, some are on their way, and nothing moves."""
    trial.submit()
    trial.upstream.hold_after(60)
    wait_until(lambda: read_journal(trial.server, trial.id)[0], "a part is durable", pause=0.05)


def test_any_machine_answers_for_what_another_one_runs(
    machines: list[Server], upstream: Upstream
) -> None:
    leader, other = leader_of(machines)
    trial = Trial("elsewhere", 80, other, upstream)
    upstream.hold()
    trial.submit()
    upstream.wait_until(lambda stats: stats.held == SLOTS)
    root = str(other.client.base_url).removesuffix("/v1/").removesuffix("/v1")

    def figures() -> str:
        return str(httpx2.get(f"{root}/metrics").text)

    wait_until(
        lambda: (
            f'batchmill_in_flight{{model="m",upstream="{upstream.url}"}} {SLOTS}.0' in figures()
        ),
        "the figures are seen from the other machine",
        pause=0.1,
    )
    assert httpx2.get(f"{root}/readyz").status_code == 200
    board = ask(other.client, "/models").json()
    assert board["data"]
    upstream.release()
    trial.check()
    # one secret signs the sessions of both
    assert not (leader.data / "session.secret").exists()
    mine = upload(leader.client, "mine", write_input("mine", 3))
    assert ask(other.client, f"/files/{mine}/content").content == write_input("mine", 3)


def test_the_stand_by_takes_over_when_a_machine_loses_its_power(
    machines: list[Server], upstream: Upstream
) -> None:
    leader, other = leader_of(machines)
    trial = Trial("power", 200, other, upstream)
    run_half(trial)
    leader.kill_all()
    evidence = trial.gather_evidence()
    upstream.release()
    trial.check()
    assert "leadership_taken" in names_of(other)
    # a line is sent again only if it was in flight, or younger than the journal's interval
    assert trial.sent_again() <= evidence.hits.keys() - evidence.settled
    leader.start()
    again = Trial("again", 20, leader, upstream)
    again.submit()
    again.check()
    assert other.is_whole()


def test_an_engine_that_was_frozen_stands_by_when_it_wakes(
    machines: list[Server], upstream: Upstream
) -> None:
    leader, other = leader_of(machines)
    trial = Trial("frozen", 200, other, upstream)
    run_half(trial)
    frozen = leader.the("engine")
    frozen.send_signal(signal.SIGSTOP)
    try:
        evidence = trial.gather_evidence()
        upstream.release()
        wait_until(lambda: "leadership_taken" in names_of(other), "the other one leads", pause=0.05)
        trial.check()
        assert trial.sent_again() <= evidence.hits.keys() - evidence.settled
    finally:
        frozen.send_signal(signal.SIGCONT)
    wait_until(lambda: names_of(leader).count("leadership_awaited") == 1, "it stands by", 0.05)
    wait_until(lambda: sorted(leader.roles()) == sorted(ROLES), "its processes are whole", 0.05)
    assert leader.the("engine").pid != frozen.pid
    trial.check()


def test_where_a_cluster_runs_the_batches_a_server_is_its_doors_alone(
    machines: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, doors = machines[0], ["api", "supervisor"]
    server.kill_all()
    monkeypatch.setenv("BATCHMILL_CLUSTER__KIND", "ray")
    server.start()
    for role in (*doors, "supervisor"):
        before = server.the(role).pid
        server.kill(role)
        wait_until(lambda: server.roles() == doors, "it is whole again", pause=0.05)
        assert server.the(role).pid != before
    assert ask(server.client, "/batches").json()["object"] == "list"
    server.stop()
