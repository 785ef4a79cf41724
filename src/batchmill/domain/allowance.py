"""How much of a model an account may have under way: what is above waits its turn.

``admit`` looks at all unfinished batches at once and says which may run, and of
each other one why it waits. First come, first served within an account and
model: nobody overtakes one that waits. Pure; who calls it decides how often.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

# Between what common tokenizers make of English and of JSON; nobody has counted yet when a
# batch is planned. An estimate for queueing, never for a bill.
BYTES_PER_TOKEN: Final = 4


class Measure(StrEnum):
    """What an allowance is measured in."""

    LINES = "lines"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much of one model an account may have under way at once; None is unlimited."""

    lines: int | None = None
    tokens: int | None = None

    def of(self, measure: Measure) -> int | None:
        """The allowance in one measure."""
        return self.lines if measure is Measure.LINES else self.tokens

    @property
    def measures(self) -> tuple[Measure, ...]:
        """In what it is measured; nothing where it is unlimited."""
        return tuple(measure for measure in Measure if self.of(measure) is not None)


_UNLIMITED: Final = Allowance()


@dataclass(frozen=True, slots=True)
class Load:
    """Lines of one model that are not finished, and their estimated input tokens."""

    lines: int = 0
    tokens: int = 0

    def of(self, measure: Measure) -> int:
        """The load in one measure."""
        return self.lines if measure is Measure.LINES else self.tokens

    def __add__(self, other: "Load") -> "Load":
        return Load(self.lines + other.lines, self.tokens + other.tokens)


@dataclass(frozen=True, slots=True)
class Claim:
    """An unfinished batch: what it has left to do, by model. One that has begun goes on."""

    batch_id: str
    account: str
    created_at: float
    loads: Mapping[str, Load]
    has_begun: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a batch waits: of ``model`` the account may have ``allowed``, and has ``under_way``.

    ``wanted`` is what the batch would add. ``is_behind``: it would fit by
    itself, but one that came before it waits for the same model.
    """

    model: str
    measure: Measure
    allowed: int
    under_way: int
    wanted: int
    is_behind: bool = False

    @property
    def sentence(self) -> str:
        """The reason in words for the one whose batch it is."""
        what = "input tokens (estimated)" if self.measure is Measure.TOKENS else "lines"
        start = (
            f"Your account may have {self.allowed} unfinished {what} of model '{self.model}' "
            f"under way, and has {self.under_way}: this batch with its {self.wanted} "
        )
        if self.is_behind:
            return start + "waits behind one that came before it."
        return start + "waits until there is room."


@dataclass(frozen=True, slots=True)
class Admission:
    """Which batches may run now, and of each other one why it waits."""

    running: frozenset[str]
    waiting: Mapping[str, Wait]


def estimate_tokens(size: int) -> int:
    """Input tokens of so many bytes, roughly; any byte at all is one."""
    return -(-size // BYTES_PER_TOKEN)


def admit(claims: Iterable[Claim], allowances: Mapping[str, Allowance]) -> Admission:
    """Rule on all unfinished batches together; models without an allowance hold nobody up.

    A batch that is larger than the allowance runs when nothing else of that
    model of its account does.
    """
    running: set[str] = set()
    waiting: dict[str, Wait] = {}
    queues: dict[tuple[str, str], _Queue] = {}
    for claim in sorted(claims, key=lambda one: (not one.has_begun, one.created_at, one.batch_id)):
        asked = [
            (queues.setdefault((claim.account, model), _Queue(model, allowances[model])), load)
            for model, load in claim.loads.items()
            if load.lines and allowances.get(model, _UNLIMITED).measures
        ]
        wait = None if claim.has_begun else _first_wait(asked)
        for queue, load in asked:
            queue.enter(load, wait)
        if wait is None:
            running.add(claim.batch_id)
        else:
            waiting[claim.batch_id] = wait
    return Admission(frozenset(running), waiting)


@dataclass(slots=True)
class _Queue:
    """The batches of one account and model, in the order in which they came."""

    model: str
    allowance: Allowance
    under_way: Load = field(default_factory=Load)
    blocked_by: Measure | None = None

    def enter(self, load: Load, wait: Wait | None) -> None:
        """A batch runs; or it waits, here or for another model, and nobody overtakes it."""
        if wait is None:
            self.under_way += load
        elif self.blocked_by is None:
            here = wait.model == self.model
            self.blocked_by = wait.measure if here else self.allowance.measures[0]

    def wait_of(self, load: Load) -> Wait | None:
        """Why a batch with this load would wait here."""
        if self.blocked_by is not None:
            return self._wait(self.blocked_by, load, is_behind=True)
        if not self.under_way.lines:
            return None
        for measure in self.allowance.measures:
            allowed = self.allowance.of(measure) or 0
            if self.under_way.of(measure) + load.of(measure) > allowed:
                return self._wait(measure, load)
        return None

    def _wait(self, measure: Measure, load: Load, *, is_behind: bool = False) -> Wait:
        return Wait(
            model=self.model,
            measure=measure,
            allowed=self.allowance.of(measure) or 0,
            under_way=self.under_way.of(measure),
            wanted=load.of(measure),
            is_behind=is_behind,
        )


def _first_wait(asked: Iterable[tuple[_Queue, Load]]) -> Wait | None:
    waits = (queue.wait_of(load) for queue, load in asked)
    return next((wait for wait in waits if wait is not None), None)
