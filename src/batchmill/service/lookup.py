"""Looking things up on behalf of a caller: batches of their account, files that still live.

A batch may end and a file may go while somebody reads; ``look_steadily`` is
how a reader gets one whole picture all the same.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from batchmill.domain.batch import Batch
from batchmill.domain.file import File
from batchmill.ports import BlobMissing, Store
from batchmill.service.batches import unknown_batch
from batchmill.service.caller import Caller
from batchmill.service.refusals import is_plausible_id

Picture = TypeVar("Picture")


async def find_batch(store: Store, caller: Caller, batch_id: str) -> Batch:
    """The caller's batch; raises NotFound."""
    plausible = is_plausible_id(batch_id)
    batch = await store.batches.get(caller.account, batch_id) if plausible else None
    if batch is None:
        raise unknown_batch(batch_id)
    return batch


async def find_living_file(
    store: Store, batch: Batch, file_id: str | None, now: float
) -> File | None:
    """A file of the batch's account; None where it was deleted, or its life is over."""
    file = None if file_id is None else await store.files.get(batch.account, file_id)
    return None if file is None or file.is_expired(now) else file


async def look_steadily(
    store: Store, caller: Caller, batch_id: str, look: Callable[[Batch], Awaitable[Picture]]
) -> Picture:
    """What ``look`` finds of the caller's batch; raises NotFound, and whatever it raises.

    It looks again where the batch ended meanwhile, which takes its journal
    away, or where a file was deleted, whose row goes before its bytes.
    """
    batch = await find_batch(store, caller, batch_id)
    try:
        picture = await look(batch)
    except BlobMissing:
        return await look(await find_batch(store, caller, batch_id))
    if batch.status.is_terminal:
        return picture
    later = await find_batch(store, caller, batch_id)
    return await look(later) if later.status.is_terminal else picture
