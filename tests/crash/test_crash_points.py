"""The power is cut at every fault point: for the one process that passes it, and for all.

One server is used for all points, as its operator would: what an earlier cut
left behind is there when the next one comes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from crash_batch import post_file, write_input
from crash_cuts import House, cut_the_power, end_unswept, open_house
from crash_server import Server
from crash_table import PROPERTY
from crash_waiting import wait_until

from batchmill.faultpoint import POINTS

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


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("points"), LATENCY) as house:
        yield house


@pytest.fixture(autouse=True)
def calm(house: House) -> Iterator[None]:
    yield
    house.calm()


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
    row = cut_the_power(house, point, way, PASSING.get(point, 1))
    request.node.user_properties.append((PROPERTY, row.dump()))


def test_the_journals_of_ended_batches_are_swept(house: House) -> None:
    end_unswept(house)


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
