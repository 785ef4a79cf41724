"""The fault points themselves: an order is carried out at the right passing, once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from batchmill.faultpoint import POINTS, Order, OrderFile

PASS_THREE_TIMES = """
from batchmill import faultpoint
for count in (1, 2, 3):
    faultpoint.passed("line.before_sent")
    faultpoint.passed("line.after_answer")
    print(count, flush=True)
"""


def run(spec: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "BATCHMILL_FAULT": spec}
    command = [sys.executable, "-c", PASS_THREE_TIMES]
    return subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, start_new_session=True
    )


@pytest.mark.parametrize(
    ("spec", "printed"),
    [("line.before_sent", ""), ("line.after_answer:2", "1\n"), ("line.before_sent:3", "1\n2\n")],
)
def test_a_process_is_killed_at_the_passing_that_the_variable_names(
    spec: str, printed: str
) -> None:
    done = run(spec)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, printed)


def test_a_process_that_passes_too_seldom_lives() -> None:
    assert run("line.before_sent:4").returncode == 0


@pytest.mark.parametrize("way", ["process", "group"])
def test_an_order_in_a_file_is_taken_away_before_it_is_carried_out(
    way: str, tmp_path: Path
) -> None:
    order = tmp_path / "order"
    order.write_text(f"line.before_sent:2 {way}")
    done = run(f"@{order}")
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "1\n")
    assert not order.exists()
    assert run(f"@{order}").returncode == 0


def test_an_order_counts_from_when_it_was_put_there(tmp_path: Path) -> None:
    path = tmp_path / "order"
    file = OrderFile(path)
    for point in POINTS:
        file.passed(point)
    path.write_text("line.before_sent:2 stop")
    file.passed("line.after_answer")
    file.passed("line.before_sent")
    assert path.exists()


def test_a_name_that_is_no_point_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'line\.sent'"):
        Order("line.sent:2")
