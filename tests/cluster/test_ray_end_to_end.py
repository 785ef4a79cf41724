"""Batches on a whole deployment: three machines' worth of processes, nothing shared but stores."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from crash_waiting import wait_until
from ray_house import KEY, SECRET, RayHouse, nodes_running, ray_house
from ray_nodes import RayNodes

from batchmill.cluster.ray_actors import Papers
from batchmill.cluster.ray_control import await_standing, start_dispatcher
from batchmill.config import dump_without_secrets, load_prices
from batchmill.domain.batch import Status
from batchmill.domain.price_table import dump_table
from batchmill.upstream.mock import Script
from batchmill.wiring.cluster import lead

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SLOTS = 8


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    with nodes_running(2) as running:
        yield running


@pytest.fixture
def house(tmp_path: Path, nodes: RayNodes) -> Iterator[RayHouse]:
    script = Script(require_key=SECRET, latency=0.05)
    with ray_house(tmp_path, nodes, slots=SLOTS, script=script) as house:
        yield house


def test_batches_run_to_their_end_over_several_workers_and_within_the_cap(
    house: RayHouse,
) -> None:
    assert "leads" in house.command("start")
    house.until_ready(2)
    assert "already" in house.command("start")
    batches = {name: house.submit(600, name) for name in ("a", "b")}
    for name, batch in batches.items():
        ended = house.until_terminal(batch)
        assert ended.counts.completed == 600
        assert house.check(ended, name) == 0, "nothing was sent twice"
    most = house.upstream.most_in_flight()
    assert SLOTS * 0.9 <= most <= SLOTS


def test_the_status_tells_of_nodes_workers_and_slots(house: RayHouse) -> None:
    house.command("status", expect=1)
    house.command("start")
    house.until_ready(2)
    house.upstream.hold()
    house.submit(100)
    house.upstream.wait_until(lambda stats: stats.in_flight == SLOTS)
    shown = json.loads(house.command("status", "--json"))
    [dispatcher] = shown["dispatchers"].values()
    assert len(shown["nodes"]) == 3
    assert dispatcher["epoch"] >= 1
    assert dispatcher["batches"] == 1
    assert [one["shards"] for one in dispatcher["workers"]] == [1, 1]
    assert [slots[1:] for slots in dispatcher["slots"]] == [[SLOTS, SLOTS]]
    table = house.command("status")
    assert "leads" in table
    assert SECRET not in table
    house.upstream.release()


def test_a_drain_lets_what_is_in_flight_end_and_a_start_goes_on(house: RayHouse) -> None:
    house.command("start")
    house.until_ready(2)
    batch = house.submit(400)
    house.upstream.wait_for_more(100)
    assert "drained" in house.command("drain")
    assert house.workers() == []
    drained = house.upstream.requests()
    assert house.get(batch).status is Status.IN_PROGRESS
    assert drained < 400
    house.command("start")
    ended = house.until_terminal(batch)
    assert house.check(ended) == 0
    assert "ended" in house.command("stop")
    assert "Nothing ran" in house.command("stop", "--now")


def test_a_killed_dispatcher_costs_no_line(house: RayHouse) -> None:
    house.command("start")
    house.until_ready(2)
    batch = house.submit(800)
    house.upstream.wait_for_more(200)
    killed = house.dispatcher()
    house.kill(killed)
    wait_until(
        lambda: house.actors("dispatcher") and house.dispatcher().pid != killed.pid,
        "the dispatcher is back",
        pause=0.1,
    )
    assert house.check(house.until_terminal(batch)) == 0


def test_a_new_release_waits_for_the_drain_of_the_old_one_and_nothing_is_sent_twice(
    house: RayHouse,
) -> None:
    house.command("start")
    house.until_ready(2)
    batch = house.submit(600)
    house.upstream.wait_for_more(100)
    newer = replace(house.session, release="99.0")
    papers = Papers(dump_without_secrets(house.settings), dump_table(load_prices(house.settings)))
    assert start_dispatcher(newer, lead, papers, "batchmill")
    assert "leads" in house.command("status")
    house.command("drain")
    found = await_standing(newer, 60.0)
    assert found is not None
    assert found.epoch
    assert found.release == "99.0"
    assert house.check(house.until_terminal(batch)) == 0
    assert all(one.name.startswith("worker-99.0-") for one in house.workers())


def test_no_secret_is_in_what_ray_wrote_down(house: RayHouse) -> None:
    house.command("start")
    house.until_ready(2)
    house.check(house.until_terminal(house.submit(20)))
    logs = [path for path in house.nodes.folder.rglob("*") if path.is_file()]
    assert logs
    for path in logs:
        assert SECRET.encode() not in path.read_bytes(), path
    assert KEY
