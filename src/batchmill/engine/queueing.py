"""Queueing: which batches may run now under the allowances of their accounts.

Accounts do not touch each other, so each is ruled by itself, and only when one
of its batches came, went, or may have made room.
"""

from collections import defaultdict
from collections.abc import Mapping

from batchmill.domain.allowance import (
    Admission,
    Allowance,
    Claim,
    Load,
    Wait,
    admit,
    estimate_tokens,
)
from batchmill.domain.batch import Status
from batchmill.engine.batch_run import BatchRun

_NOTHING = Admission(frozenset(), {})


class Admissions:
    """Rules on the batches that are in progress and whose shards are known."""

    def __init__(self, allowances: Mapping[str, Allowance]) -> None:
        self._allowances = allowances
        self._runs: dict[str, dict[str, BatchRun]] = defaultdict(dict)
        self._rulings: dict[str, Admission] = {}
        self._stale: set[str] = set()

    @property
    def waits(self) -> Mapping[str, Wait]:
        """Why each batch waits that has to."""
        return {
            batch_id: wait
            for ruling in self._rulings.values()
            for batch_id, wait in ruling.waiting.items()
        }

    def may_run(self, run: BatchRun) -> bool:
        """Whether the batch was let in at the last ruling."""
        if not self._allowances:
            return True
        return run.batch.id in self._rulings.get(run.batch.account, _NOTHING).running

    def note(self, run: BatchRun) -> None:
        """The batch may have come or gone."""
        if not self._allowances:
            return
        account, batch_id = run.batch.account, run.batch.id
        is_in = run.batch.status is Status.IN_PROGRESS and run.shards_known
        if is_in != (batch_id in self._runs[account]):
            self._stale.add(account)
        if is_in:
            self._runs[account][batch_id] = run
        else:
            self._leave(account, batch_id)

    def forget(self, run: BatchRun) -> None:
        """The batch is gone."""
        if run.batch.id in self._runs.get(run.batch.account, ()):
            self._stale.add(run.batch.account)
            self._leave(run.batch.account, run.batch.id)

    def look_again(self) -> None:
        """Shards have ended since the last time, which may let in who waits."""
        self._stale |= {account for account, one in self._rulings.items() if one.waiting}

    def rule(self) -> list[BatchRun]:
        """Rule anew where something changed; the batches for which the answer may be another."""
        accounts, self._stale = self._stale, set()
        return [run for account in sorted(accounts) for run in self._rule_on(account)]

    def _rule_on(self, account: str) -> list[BatchRun]:
        runs = self._runs.get(account)
        if not runs:
            self._rulings.pop(account, None)
            return []
        before = self._rulings.get(account, _NOTHING).running
        ruling = admit((_claim_of(run) for run in runs.values()), self._allowances)
        self._rulings[account] = ruling
        return [run for batch_id, run in runs.items() if batch_id in before ^ ruling.running]

    def _leave(self, account: str, batch_id: str) -> None:
        self._runs[account].pop(batch_id, None)
        if not self._runs[account]:
            del self._runs[account]


def _claim_of(run: BatchRun) -> Claim:
    """What is left of a batch."""
    loads = {
        model: Load(lines, estimate_tokens(run.bytes_left[model]))
        for model, lines in run.lines_left.items()
        if lines > 0
    }
    batch = run.batch
    return Claim(batch.id, batch.account, batch.created_at, loads, run.has_begun)
