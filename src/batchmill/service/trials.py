"""Trials: the first lines of a file, run on the test model, which costs nothing."""

from batchmill.domain.catalog import TEST_ENDPOINT
from batchmill.domain.errors import BatchmillError
from batchmill.service.batches import BatchSpec, BatchState
from batchmill.service.caller import Caller
from batchmill.service.metadata import NAME
from batchmill.service.services import Services
from batchmill.service.windows import usual_window

_TITLE = "Trial of {}"
_MAX_TITLE_CHARS = 100


async def start_trial(services: Services, caller: Caller, file_id: str, title: str) -> BatchState:
    """A batch of a file's first lines on the test model; ``title`` names what is tried.

    Raises what Reruns.trial and Batches.create raise; then no file is left of it.
    """
    file = await services.reruns.trial(caller, file_id)
    spec = BatchSpec(
        input_file_id=file.id,
        endpoint=TEST_ENDPOINT,
        completion_window=usual_window(services.batches.windows()),
        metadata={NAME: _TITLE.format(title)[:_MAX_TITLE_CHARS]},
    )
    try:
        return await services.batches.create(caller, spec)
    except BatchmillError:
        await services.files.delete(caller, file.id)
        raise
