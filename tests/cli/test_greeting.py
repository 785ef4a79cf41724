"""What ``serve`` says when it has begun: which models are served, and which are not."""

import socket

import pytest

from batchmill.cli.serve import _greet
from batchmill.config import ModelSettings, Settings, UpstreamSettings
from batchmill.domain.catalog import TEST_MODEL


def greeting(capsys: pytest.CaptureFixture[str], *models: ModelSettings) -> list[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        _greet(Settings(models=models), listening, "not needed")
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


def model(name: str, region: str) -> ModelSettings:
    upstream = UpstreamSettings(url="http://10.0.0.5/v1", region=region)
    return ModelSettings(name=name, upstreams=(upstream,), compute_regions=("eu",))


def test_a_model_that_may_be_computed_nowhere_is_named_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = greeting(capsys, model("a", "eu"), model("z", "us"), model("b", "us"))
    assert f"models  a, {TEST_MODEL}" in said
    assert "barred  b, z: no upstream is in a region of compute_regions" in said


def test_where_nothing_is_barred_nothing_is_said_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    said = greeting(capsys, model("a", "eu"))
    assert f"models  a, {TEST_MODEL}" in said
    assert not [line for line in said if line.startswith("barred")]
