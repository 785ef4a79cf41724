"""Any single process of a running server is killed, and the server heals by itself."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress

import httpx2
import psutil
import pytest
from crash_batch import Trial, ask
from crash_server import ROLES, SLOTS, Server, serving
from crash_upstream import Upstream, upstream_running
from crash_waiting import wait_until

from batchmill.upstream.mock import Script


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with upstream_running(Script(latency=0.01)) as running:
        yield running


@pytest.fixture(scope="module")
def server(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("supervision"), upstream.url, cancel_grace=0) as started:
        yield started


@pytest.mark.parametrize("role", ROLES)
def test_a_killed_process_is_replaced_and_no_client_is_turned_away(
    role: str, server: Server, upstream: Upstream
) -> None:
    upstream.hold()
    trial = Trial(f"without-{role}", 80, server, upstream)
    trial.submit()
    upstream.wait_until(lambda stats: stats.held == SLOTS)
    before = {name: server.the(name).pid for name in ROLES}
    server.kill(role)
    trial.gather_evidence()
    knock_until_whole(server)
    assert server.the(role).pid != before[role]
    upstream.release()
    trial.check()
    wait_until(server.is_whole, "there is one process of each kind")


def knock_until_whole(server: Server) -> None:
    """Ask anew all the while, at least once: the connection may end, but is never refused."""
    is_answered = False
    while not (is_answered and server.is_whole()):
        try:
            answer = httpx2.get(f"{server.client.base_url}models", timeout=120)
        except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
            continue
        assert answer.status_code == 200
        is_answered = True


def test_an_engine_that_lost_its_supervisor_is_not_doubled(
    server: Server, upstream: Upstream
) -> None:
    trial = Trial("three-supervisors", 60, server, upstream)
    trial.submit()
    for _ in range(3):
        server.kill("supervisor")
        trial.gather_evidence()
        knock_until_whole(server)
    trial.check()
    wait_until(server.is_whole, "there is one process of each kind")


def test_uploads_and_status_work_while_the_engine_is_away(
    server: Server, upstream: Upstream
) -> None:
    suspend_engine(server)
    try:
        trial = Trial("engine-away", 20, server, upstream)
        trial.submit()
        assert trial.get()["status"] == "validating"
    finally:
        server.the("engine").resume()
    trial.check()


def suspend_engine(server: Server) -> None:
    """Stop the engine where it holds no lock of the database, as one that has died holds none."""
    engine = server.the("engine")
    with closing(sqlite3.connect(server.data / "batchmill.sqlite3", timeout=0)) as database:
        while True:
            engine.suspend()
            wait_until(lambda: engine.status() == psutil.STATUS_STOPPED, "the engine has stopped")
            with suppress(sqlite3.OperationalError):
                database.execute("BEGIN IMMEDIATE")
                database.rollback()
                return
            engine.resume()


def test_a_server_whose_supervisor_was_replaced_stops_as_one(server: Server) -> None:
    server.kill("supervisor")
    knock_until_whole(server)
    server.stop()
    assert server.is_gone()
    server.start()
    assert ask(server.client, "/batches").json()["object"] == "list"
