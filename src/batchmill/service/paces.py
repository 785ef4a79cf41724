"""Paces: how fast models run now, over the batches of everybody. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping

from batchmill.domain.batch import Batch
from batchmill.domain.estimate import Pace
from batchmill.service.batches import ProgressSource


def paces_of(batches: Iterable[Batch], progress: ProgressSource) -> Mapping[str, Pace]:
    """How fast each model runs now and how many lines it has to do, over unfinished batches."""
    ahead, rates = Counter[str](), dict[str, float]()
    for batch in batches:
        if batch.model is None:
            continue
        counts, said = batch.counts, progress(batch.id)
        ahead[batch.model] += counts.total - counts.completed - counts.failed
        if said is not None and said.lines_per_second is not None:
            rates[batch.model] = rates.get(batch.model, 0.0) + said.lines_per_second
    return {model: Pace(rates.get(model), lines) for model, lines in ahead.items()}
