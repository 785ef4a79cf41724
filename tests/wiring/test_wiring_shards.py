"""How large shards are: by the slots that their model has where its lines are sent."""

import pytest

from batchmill.config import (
    ClusterKind,
    ClusterSettings,
    EngineSettings,
    ModelSettings,
    Settings,
    UpstreamSettings,
)
from batchmill.domain.catalog import TEST_MODEL
from batchmill.wiring.lanes import shard_lines


def an_upstream(place: int, **options: object) -> UpstreamSettings:
    return UpstreamSettings.model_validate({"url": f"http://127.0.0.1:{place}/v1", **options})


MODELS = (
    ModelSettings(name="few", upstreams=(an_upstream(1, max_in_flight=4),)),
    ModelSettings(
        name="two",
        upstreams=(an_upstream(2, max_in_flight=60), an_upstream(3, max_in_flight=60)),
    ),
    ModelSettings(name="unset", upstreams=(an_upstream(4),)),
)
# 8 for each slot, 500 at least and 2,000 at most; a worker of a cluster has a part of the slots.
LOCAL = {"few": 500, "two": 960, "unset": 2000, "elsewhere": 500, TEST_MODEL: 512}
RAY = {"few": 500, "two": 500, "unset": 1024, "elsewhere": 500, TEST_MODEL: 500}


@pytest.mark.parametrize(
    ("kind", "sizes"), [(ClusterKind.LOCAL, LOCAL), (ClusterKind.RAY, RAY)], ids=["local", "ray"]
)
def test_a_shard_has_as_many_lines_as_its_models_slots_are_worth(
    kind: ClusterKind, sizes: dict[str, int]
) -> None:
    lines_of = shard_lines(Settings(models=MODELS, cluster=ClusterSettings(kind=kind)))
    assert {model: lines_of(model) for model in sizes} == sizes


def test_no_shard_has_more_lines_than_are_set() -> None:
    settings = Settings(models=MODELS, engine=EngineSettings(shard_lines=700))
    lines_of = shard_lines(settings)
    assert [lines_of(model) for model in ("few", "two", "unset")] == [500, 700, 700]
