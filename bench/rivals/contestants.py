"""Who is compared: their programs, versions, and how many lines each is given."""

import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCH = HERE.parent


@dataclass(frozen=True)
class Contestant:
    """A program that reads requests and writes answers, or a server that does.

    ``requirement`` is what pip installs for it, None where the bench's own environment has it.
    ``part`` divides the lines for those that need milliseconds for each.
    """

    name: str
    program: Path
    requirement: str | None = None
    part: int = 1
    is_service: bool = False

    @property
    def title(self) -> str:
        """Its name with its version, where it is installed for the bench."""
        version = (self.requirement or "").partition("==")[2]
        return f"{self.name} {version}".strip()


SCRIPTS = (
    Contestant("aiohttp and a semaphore", BENCH / "aiohttp_script.py"),
    Contestant("the official client and a semaphore", BENCH / "client_script.py", part=10),
    Contestant(
        "litellm, acompletion in a semaphore",
        HERE / "litellm_script.py",
        requirement="litellm==1.106.2",
        part=10,
    ),
    Contestant("saturate", HERE / "saturate_script.py", requirement="saturate==0.2.0", part=10),
    Contestant("flexllm", HERE / "flexllm_script.py", requirement="flexllm==0.17.10", part=10),
)
AIBRIX = Contestant(
    "AIBrix's batch service",
    HERE / "aibrix_service.py",
    requirement="aibrix==0.8.0",
    part=10,
    is_service=True,
)
BATCHMILL = Contestant("batchmill", Path(sys.executable), is_service=True)
