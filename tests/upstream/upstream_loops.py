"""Both event loops, for every test of a module: ``pytestmark = on_both_loops``."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
import uvloop

PATIENCE = 60.0  # a test that waits for a signal which never comes fails instead of hanging

Run = Callable[[Coroutine[Any, Any, None]], None]


def run_on(loop_factory: Callable[[], asyncio.AbstractEventLoop], main: Any) -> None:
    """Run a coroutine to its end on a loop of its own, which must have nothing to complain of."""
    complaints: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
        runner.run(asyncio.wait_for(main, PATIENCE))
    assert not complaints, complaints


on_both_loops = pytest.mark.parametrize(
    "run",
    [partial(run_on, asyncio.new_event_loop), partial(run_on, uvloop.new_event_loop)],
    ids=["asyncio", "uvloop"],
)
