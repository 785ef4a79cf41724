"""Queueing: which batches may run now under the allowances of their accounts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from batchmill.domain.allowance import Admission, Allowance, Claim, Load, admit, estimate_tokens
from batchmill.engine.batch_run import BatchRun


def rule(runs: Iterable[BatchRun], allowances: Mapping[str, Allowance]) -> Admission:
    """Rule on all batches whose shards are known."""
    return admit((_claim_of(run) for run in runs if run.shards_known), allowances)


def _claim_of(run: BatchRun) -> Claim:
    """What is left of a batch. A shard of several models counts whole for each of them."""
    loads: dict[str, Load] = defaultdict(Load)
    for shard in run.unfinished.values():
        load = Load(shard.lines, estimate_tokens(shard.end - shard.start))
        for model in shard.models:
            loads[model] += load
    batch = run.batch
    return Claim(batch.id, batch.account, batch.created_at, loads, run.has_begun)
