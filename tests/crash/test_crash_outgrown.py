"""The crashes of a server whose rows are in PostgreSQL and whose bytes are in a bucket.

Each point that touches the stores is cut once, in the one way and the other in
turns: what the processes do to one another is the same as over a data folder
(``test_crash_points``), and between the points ``line.*`` nothing is stored.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash_cuts import House, cut_the_power, end_unswept, open_house
from crash_outgrown import Outgrown, outgrown
from crash_server import serving
from crash_strikes import Ordeal, endure
from crash_upstream import upstream_running

from batchmill.faultpoint import POINTS
from batchmill.upstream.mock import Script

# A group of the journal takes half a second: meanwhile a part of the lines is to be answered.
LATENCY = 0.1

# At which passing: late enough that some of the batch is durable, and some is not.
PASSING = {
    "segment.before_durable": 3,
    "segment.after_durable": 3,
    "shard.before_closed": 2,
    "shard.after_closed": 2,
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with (
        outgrown() as stores,
        open_house(tmp_path_factory.mktemp("outgrown"), LATENCY, stores) as house,
    ):
        yield house
        house.calm()


@pytest.fixture
def stores() -> Iterator[Outgrown]:
    with outgrown() as stores:
        yield stores


def cuts() -> Iterator[Any]:
    """The points that touch the stores."""
    points = [point for point in POINTS if not point.startswith("line.")]
    for place, point in enumerate(points):
        yield pytest.param(point, ("group", "process")[place % 2])


@pytest.mark.parametrize(("point", "way"), list(cuts()))
def test_nothing_is_lost_repeated_or_mixed_up_over_stores_that_live_on(
    house: House, point: str, way: str
) -> None:
    cut_the_power(house, point, way, PASSING.get(point, 1))


def test_the_journals_in_the_bucket_are_swept(house: House) -> None:
    end_unswept(house)


def test_a_batch_survives_random_kills_over_stores_that_live_on(
    stores: Outgrown, tmp_path: Path
) -> None:
    with (
        upstream_running(Script(latency=LATENCY)) as upstream,
        serving(tmp_path, upstream.url, stores, shard_lines=100) as server,
    ):
        endure(Ordeal(seed=4, lines=600, strikes=6), server, upstream)
