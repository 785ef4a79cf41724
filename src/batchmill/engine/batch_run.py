"""An unfinished batch as the dispatcher sees it: state in memory, gone with the process."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from batchmill.domain.batch import Batch
from batchmill.domain.ledger import Terms
from batchmill.domain.shards import Shard
from batchmill.engine.rate import Rate


@dataclass(slots=True)
class BatchRun:
    """An unfinished batch as the dispatcher sees it.

    ``job`` is the one task that plans, stops or delivers it now; after a
    failure the next one begins at ``not_before``. ``is_fresh`` says that
    ``batch`` was read after the last job ended. ``lost`` are shards that a
    worker could not end; they wait again after a pause. ``unfinished`` are the
    shards that are not done, by index; ``has_begun`` says that one was handed
    out, now or before a restart.
    """

    batch: Batch
    is_fresh: bool = True
    shards_known: bool = False
    input_blob: str = ""
    terms: Terms | None = None
    waiting: deque[Shard] = field(default_factory=deque)
    running: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    unfinished: dict[int, Shard] = field(default_factory=dict)
    has_begun: bool = False
    served: int = -1
    is_stopped: bool = False
    job: asyncio.Task[None] | None = None
    failures: int = 0
    not_before: float = 0.0
    rate: Rate = field(default_factory=Rate)
