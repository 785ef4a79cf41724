"""What three Ray nodes promise when the bucket refuses, is silent or is away under a running batch.

It is spoken with over HTTPS, and the authority that vouches for it is told to all
processes by the settings alone.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bucket_server import Place, new_place
from certificates import Authority
from cluster_faults import LINES, SLOTS, WORKERS, Record, running_batch
from postgres_server import running
from ray_house import SECRET, RayHouse, nodes_running, ray_house
from rough_road import Road, Rule, everything, open_road

from batchmill.upstream.mock import Script

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def road(authority: Authority) -> Iterator[Road]:
    with open_road(authority.sign().serve()) as opened:
        yield opened


@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, road: Road
) -> Iterator[RayHouse]:
    folder: Path = tmp_path_factory.mktemp("house")
    place = new_place(endpoint=road.url)
    options = {**place.options, "root_certificate": authority.path.read_text()}
    with (
        running() as database,
        nodes_running(WORKERS) as nodes,
        ray_house(
            folder,
            nodes,
            slots=SLOTS,
            script=Script(require_key=SECRET, latency=0.2),
            database=database,
            bucket=Place(place.url, options),
        ) as built,
    ):
        built.command("start")
        yield built


@dataclass(frozen=True)
class Fault:
    """What becomes of every request, until so many have met it and for some seconds more."""

    befall: Callable[[Road], Rule]
    requests: int
    seconds: float = 0.0


FAULTS = {
    "S3 answers 40 times 503": Fault(lambda road: road.refuse(everything), 40),
    "S3 silent for 3 s": Fault(lambda road: road.hold(everything), WORKERS, 3),
    "S3 silent for 30 s": Fault(lambda road: road.hold(everything), WORKERS, 30),
    "S3 away for 30 s": Fault(lambda road: road.cut(everything), WORKERS, 30),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bucket_that_is_of_no_use_for_a_while_costs_no_line(
    house: RayHouse, road: Road, name: str, record_property: Record
) -> None:
    fault = FAULTS[name]
    with running_batch(house, WORKERS, LINES) as trial:
        before = processes(house)
        trial.strike()
        fault.befall(road).wait_for(fault.requests)
        # Nothing tells when everybody has run out of patience.
        time.sleep(fault.seconds)
        road.clear()
        row = trial.end(name, record_property)
    assert row.sent_again == 0
    assert processes(house) == before, "nobody was given up for it"


def processes(house: RayHouse) -> list[int]:
    return [one.pid for one in (house.dispatcher(), *house.workers())]
