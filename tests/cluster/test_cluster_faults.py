"""What a deployment on three Ray nodes promises, whatever part of it breaks under a running batch.

One deployment for all: a fault must leave it whole. The counts are asserted,
the times are told at the end of the run.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster_faults import LINES, SLOTS, WORKERS, Record, running_batch
from crash_waiting import wait_until
from postgres_server import running
from ray_house import SECRET, Actor, RayHouse, nodes_running, ray_house

from batchmill.cluster.ray_actors import Papers
from batchmill.cluster.ray_control import await_standing, start_dispatcher
from batchmill.config import dump_without_secrets, load_prices
from batchmill.domain.price_table import dump_table
from batchmill.upstream.mock import Script
from batchmill.wiring.cluster import lead

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

AWAY_SECONDS = 30


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHouse]:
    folder: Path = tmp_path_factory.mktemp("house")
    script = Script(require_key=SECRET, latency=0.2)
    with (
        running() as database,
        nodes_running(WORKERS) as nodes,
        ray_house(
            folder,
            nodes,
            slots=SLOTS,
            script=script,
            database=database,
        ) as built,
    ):
        built.command("start")
        yield built


def test_a_killed_worker_costs_what_it_had_in_flight(
    house: RayHouse, record_property: Record
) -> None:
    with running_batch(house, WORKERS, LINES) as trial:
        trial.strike()
        house.kill(house.workers()[0])
        trial.end("worker killed", record_property)


def test_a_killed_dispatcher_costs_nothing(house: RayHouse, record_property: Record) -> None:
    with running_batch(house, WORKERS, LINES) as trial:
        killed = house.dispatcher()
        trial.strike()
        house.kill(killed)
        row = trial.end("dispatcher killed", record_property)
    assert row.sent_again == 0
    assert house.dispatcher().pid != killed.pid


def node_of(house: RayHouse, actor: Actor) -> Any:
    """The node that it lives on."""
    cluster = house.nodes._cluster
    [node] = [one for one in cluster.worker_nodes if one.node_id == actor.node]
    return node


def cut_power(house: RayHouse, actor: Actor) -> None:
    """All that lives on its node ends at once."""
    doomed = [one for one in (*house.workers(), house.dispatcher()) if one.node == actor.node]
    for one in doomed:
        house.kill(one)
    house.nodes.cut_power(node_of(house, actor))


def test_a_node_without_power_costs_what_its_worker_had_in_flight(
    house: RayHouse, record_property: Record
) -> None:
    with running_batch(house, WORKERS, LINES) as trial:
        home = house.dispatcher().node
        lonely = next(one for one in house.workers() if one.node != home)
        trial.strike()
        cut_power(house, lonely)
        trial.end("a worker's node without power", record_property)
    house.nodes.add()


def test_the_dispatcher_goes_on_elsewhere_when_its_node_is_without_power(
    house: RayHouse, record_property: Record
) -> None:
    with running_batch(house, WORKERS, LINES) as trial:
        struck = house.dispatcher()
        trial.strike()
        cut_power(house, struck)
        trial.end("the dispatcher's node without power", record_property)
    assert house.dispatcher().node != struck.node
    house.nodes.add()


def test_a_worker_that_was_frozen_sends_and_writes_nothing_when_it_wakes(
    house: RayHouse, record_property: Record
) -> None:
    with running_batch(house, WORKERS, LINES) as trial:
        frozen = house.workers()[0]
        trial.strike()
        freeze_waiting(house, frozen)
        try:
            wait_until(lambda: is_fenced(house, frozen), "it is fenced", pause=0.1)
        finally:
            with suppress(ProcessLookupError):  # Ray has ended it
                house.thaw(frozen)
        trial.end("worker frozen and thawed", record_property)


def freeze_waiting(house: RayHouse, worker: Actor) -> None:
    """Freeze it while it waits for answers: in the midst of sending it would send that at its end.

    Nothing can be put between its look at its lease and the socket.
    """
    house.upstream.hold()
    house.upstream.wait_until(lambda stats: stats.held == SLOTS)
    house.freeze(worker)
    house.upstream.release()


def is_fenced(house: RayHouse, worker: Actor) -> bool:
    """Whether its dispatcher counts on it no more, or on another process in its place."""
    if worker.pid not in [one.pid for one in house.workers()]:
        return True
    found = house.standing()
    return found is not None and all(
        one.lines == 0 for one in found.workers if one.name == worker.name
    )


def test_a_database_that_restarts_costs_no_line(house: RayHouse, record_property: Record) -> None:
    with running_batch(house, WORKERS, LINES) as trial:
        trial.strike()
        house.database.stop(signal.SIGQUIT)
        house.database.start()
        row = trial.end("PostgreSQL crashed, started again", record_property)
    assert row.sent_again == 0


def test_a_database_that_is_away_costs_no_line(house: RayHouse, record_property: Record) -> None:
    with running_batch(house, WORKERS, LINES) as trial:
        trial.strike()
        house.database.stop()
        # Nothing tells when everybody has run out of patience.
        time.sleep(AWAY_SECONDS)
        house.database.start()
        row = trial.end(f"PostgreSQL away for {AWAY_SECONDS} s", record_property)
    assert row.sent_again == 0


def test_a_dispatcher_that_wakes_under_another_one_is_refused_and_leaves(
    house: RayHouse, record_property: Record
) -> None:
    with running_batch(house, WORKERS, LINES) as trial:
        old, before = house.dispatcher(), house.standing()
        assert before is not None
        newer = replace(house.session, release="99.0")
        prices = dump_table(load_prices(house.settings))
        papers = Papers(dump_without_secrets(house.settings), prices)
        trial.strike()
        house.freeze(old)
        try:
            assert start_dispatcher(newer, lead, papers, "batchmill")
            led = await_standing(newer, 60.0)
        finally:
            house.thaw(old)
        assert led is not None
        assert led.epoch > before.epoch
        wait_until(
            lambda: (found := house.standing()) is not None and found.epoch == 0,
            "the old one leads no more",
            pause=0.1,
        )
        trial.end("dispatcher frozen, another one took over", record_property)
        after = await_standing(newer, 60.0)
        assert after is not None
        assert after.epoch == led.epoch, "the old one never led again"
