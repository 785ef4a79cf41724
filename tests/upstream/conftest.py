"""What the tests of this part share: both event loops, and upstreams that end with the test."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

PATIENCE = 60.0  # a test that waits for a signal which never comes fails instead of hanging

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on each of the two event loops."""

    def go(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(main, PATIENCE))

    return go
