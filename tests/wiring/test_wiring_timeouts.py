"""An upstream's times, from its settings to its transport."""

from batchmill.config import UpstreamSettings
from batchmill.wiring.upstreams import make_target


def test_each_time_of_an_upstream_reaches_its_target() -> None:
    target = make_target(
        UpstreamSettings(
            url="http://x", connect_timeout=1.0, first_byte_timeout=2.0, request_timeout=3.0
        )
    )
    assert target.connect_timeout == 1.0
    assert target.first_byte_timeout == 2.0
    assert target.request_timeout == 3.0


def test_an_answer_may_begin_at_any_time_unless_it_is_said() -> None:
    assert make_target(UpstreamSettings(url="http://x")).first_byte_timeout is None
