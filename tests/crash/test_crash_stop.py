"""Stopping on purpose: what is in flight is waited for, and the next start goes on."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash_batch import Trial, is_bad
from crash_server import SLOTS, Server, serving
from crash_upstream import Upstream, upstream_running
from crash_waiting import wait_until


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_running() as running:
        yield running


def begin(server: Server, upstream: Upstream) -> Trial:
    """A batch whose first lines are in flight, and stay so."""
    upstream.hold()
    trial = Trial("stopped", 60, server, upstream)
    trial.submit()
    upstream.wait_until(lambda stats: stats.held == SLOTS)
    return trial


def stop(server: Server, number: signal.Signals) -> Callable[[], int | None]:
    """Send the signal, and return when the engine has heard; the rest of the stop is returned."""
    since = server.log_size()
    if number is signal.SIGINT:  # Ctrl-C: the terminal sends it to every process
        os.killpg(server.the("supervisor").pid, number)
    else:
        server.the("supervisor").send_signal(number)
    heard = "stop_requested"
    wait_until(lambda: heard in [e["event"] for e in server.events(since)], "the engine heard")
    return server.wait_for_exit


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_what_is_in_flight_is_waited_for_and_never_sent_again(
    number: signal.Signals, upstream: Upstream, tmp_path: Path
) -> None:
    with serving(tmp_path, upstream.url) as server:
        trial = begin(server, upstream)
        sent = trial.hits()
        wait_for_exit = stop(server, number)
        upstream.release()
        assert wait_for_exit() == 0
        evidence = trial.gather_evidence()
        assert evidence.hits == sent
        assert evidence.settled == sent.keys()
        server.start()
        trial.check()
        assert not trial.sent_again()


def test_what_outlasts_the_grace_is_aborted_and_sent_again(
    upstream: Upstream, tmp_path: Path
) -> None:
    with serving(tmp_path, upstream.url, stop_grace=0.1) as server:
        trial = begin(server, upstream)
        sent = trial.hits()
        in_flight = {number for number in sent if not is_bad(number)}
        assert stop(server, signal.SIGTERM)() == 0
        evidence = trial.gather_evidence()
        assert evidence.hits == sent
        assert evidence.settled == sent.keys() - in_flight
        upstream.release()
        server.start()
        batch = trial.check()
        assert trial.sent_again() == in_flight
        assert batch["batchmill"]["resent_lines"] == len(in_flight) == SLOTS


def test_a_second_interrupt_leaves_at_once(upstream: Upstream, tmp_path: Path) -> None:
    with serving(tmp_path, upstream.url, stop_grace=3600) as server:
        trial = begin(server, upstream)
        wait_for_exit = stop(server, signal.SIGINT)
        assert server.the("supervisor").is_running()
        server.the("supervisor").send_signal(signal.SIGINT)
        wait_for_exit()
        trial.gather_evidence()
        upstream.release()
        server.start()
        trial.check()
