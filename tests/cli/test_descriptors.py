"""A process of the server may have many connections, whatever the shell that started it allows."""

import subprocess
import sys

import pytest

from batchmill.cli.descriptors import PLENTY

CHILD = """
import resource, sys
from batchmill.cli.descriptors import open_many
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
open_many()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "after"), [(256, 2_000, 2_000), (256, 256, 256), (1_000, 1_024, 1_024)]
)
def test_the_soft_limit_becomes_the_hard_one(soft: int, hard: int, after: int) -> None:
    command = [sys.executable, "-c", CHILD, str(soft), str(hard)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert told.split() == [str(after), str(hard)]
    assert hard < PLENTY
