"""Batches: create, retrieve, list, cancel.

Creating is one row; everything else about a batch is the engine's, which is
woken after each change. A status moves by compare-and-swap alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from secrets import token_bytes

import msgspec

from batchmill.domain import ids
from batchmill.domain.batch import Batch, Event, IllegalEvent, Status, advance
from batchmill.domain.catalog import TEST_ENDPOINT, Catalog
from batchmill.domain.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded
from batchmill.domain.limits import DAY, Limits, Profile, parse_window
from batchmill.domain.money import parse_amount
from batchmill.domain.pricing import NO_PRICES, PriceTable
from batchmill.ports import (
    BatchQuery,
    Clock,
    CursorUnknown,
    FileUse,
    Idempotency,
    IdempotencyMismatch,
    Page,
    Progress,
    Store,
    TooManyUnfinished,
    UnfinishedCap,
)
from batchmill.service.caller import Caller
from batchmill.service.deeds import deed_of
from batchmill.service.files import check_expires_after
from batchmill.service.metadata import check_metadata
from batchmill.service.models import supported_endpoints
from batchmill.service.outlook import Concurrency, Outlook, foresee
from batchmill.service.refusals import (
    invalid_value,
    is_plausible_id,
    require_input,
    require_text,
    shorten,
)
from batchmill.service.spending_limits import SpendingLimits
from batchmill.service.windows import offered_windows
from batchmill.telemetry import Fact, get_logger

_log = get_logger()

ProgressSource = Callable[[str], Progress | None]
"""What the engine last wrote down about a batch's progress, by batch id."""

ConcurrencySource = Callable[[str], Concurrency | None]
"""How many requests of a model are in flight; None while the engine does not say."""

_MAX_KEY_CHARS = 255
_MAX_FILE_ID_CHARS = 2048
_USES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """What the caller asks for; ``output_expires_after`` is seconds from a result file's birth.

    ``budget`` is an amount such as ``20.00``, in the currency of the model's price.
    """

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Mapping[str, str] | None = None
    output_expires_after: int | None = None
    budget: str | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What batches are measured against."""

    catalog: Catalog
    limits: Limits
    profile: Profile
    prices: PriceTable = NO_PRICES
    allow_private_callbacks: bool = False


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch as it stands now, and what its progress promises."""

    batch: Batch
    outlook: Outlook


class Batches:
    """The use-cases of batches; ``wake`` tells the engine that there is something to do."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        rules: Rules,
        wake: Callable[[], None],
        progress: ProgressSource = lambda _: None,
        concurrency: ConcurrencySource = lambda _: None,
    ) -> None:
        self._rows = store.batches
        self._files = store.files
        self._limits = SpendingLimits(caps=store.caps, usage=store.usage)
        self._clock = clock
        self._rules = rules
        self._wake = wake
        self._progress = progress
        self._concurrency = concurrency

    def windows(self) -> Sequence[str]:
        """The completion windows that people are offered, the shortest first."""
        return offered_windows(self._rules.profile, self._rules.limits)

    async def create(self, caller: Caller, spec: BatchSpec, key: str | None = None) -> BatchState:
        """Store a batch in ``validating``, or answer the one that ``key`` made.

        Raises InvalidRequest; Conflict for a key with other parameters;
        QuotaExceeded for too many unfinished batches, and where a monthly
        limit is reached. A missing input file is not refused: the batch fails
        later.
        """
        window = check_spec(spec, self._rules)
        await self._check_input(caller, spec.input_file_id)
        if spec.endpoint != TEST_ENDPOINT:
            await self._limits.check(caller, self._clock.now())
        batch = self._new_batch(caller, spec, window)
        deed = deed_of(caller, "batch.created", batch.id, batch.created_at)
        try:
            stored = await self._rows.create(batch, _idempotency(key, spec), self._caps(spec), deed)
        except IdempotencyMismatch:
            message = (
                f"The idempotency key '{shorten(key)}' was used before with other parameters: "
                "use a new key for a new batch."
            )
            raise Conflict(message, param="idempotency_key", code="idempotency_mismatch") from None
        except TooManyUnfinished:
            raise self._too_many(spec) from None
        if stored.id == batch.id:
            _log.info(Fact.BATCH_CREATED, batch_id=batch.id, endpoint=batch.endpoint)
            self._wake()
        return self._state(stored)

    async def _check_input(self, caller: Caller, file_id: str) -> None:
        file = await self._files.get(caller.account, file_id) if is_plausible_id(file_id) else None
        if file is not None:
            require_input(file)

    def _new_batch(self, caller: Caller, spec: BatchSpec, window: int) -> Batch:
        now = self._clock.now()
        return Batch(
            id=ids.batch_id(token_bytes(16)),
            account=caller.account,
            input_file_id=spec.input_file_id,
            endpoint=spec.endpoint,
            completion_window=spec.completion_window,
            status=Status.VALIDATING,
            created_at=now,
            expires_at=now + window,
            workspace=caller.workspace,
            key_id=caller.key_id,
            allowed_models=None if caller.models is None else tuple(sorted(caller.models)),
            metadata=spec.metadata,
            output_expires_after=spec.output_expires_after,
            price_version=self._rules.prices.version,
            budget=None if spec.budget is None else parse_amount(spec.budget),
        )

    def _caps(self, spec: BatchSpec) -> list[UnfinishedCap]:
        limits = self._rules.limits
        caps = [UnfinishedCap(limits.max_unfinished_batches)]
        if spec.endpoint == TEST_ENDPOINT:
            caps.append(UnfinishedCap(limits.test_model_max_unfinished, TEST_ENDPOINT))
        return caps

    def _too_many(self, spec: BatchSpec) -> QuotaExceeded:
        limits = self._rules.limits
        test = (
            f", and at most {limits.test_model_max_unfinished} on {TEST_ENDPOINT}"
            if spec.endpoint == TEST_ENDPOINT
            else ""
        )
        message = (
            f"Too many unfinished batches: there may be at most {limits.max_unfinished_batches}"
            f"{test}. Wait for one to end, or cancel one."
        )
        return QuotaExceeded(message, code="too_many_unfinished_batches")

    async def retrieve(self, caller: Caller, batch_id: str) -> BatchState:
        """The batch; raises NotFound."""
        return self._state(await self._get(caller, batch_id))

    async def list(self, caller: Caller, query: BatchQuery) -> Page[BatchState]:
        """A page of the batches of the last days; raises NotFound for an unknown ``after``."""
        horizon = self._clock.now() - self._rules.limits.list_days * DAY
        since = max(horizon, query.created_after or horizon)
        try:
            page = await self._rows.list(caller.account, replace(query, created_after=since))
        except CursorUnknown:
            raise unknown_batch(query.after or "", param="after") from None
        return Page(tuple(self._state(batch) for batch in page.items), page.has_more)

    async def using(
        self, caller: Caller, file_ids: Sequence[str]
    ) -> Mapping[str, Sequence[FileUse]]:
        """What batches each file belongs to, a few of many; see the port BatchStore."""
        plausible = [file_id for file_id in file_ids if is_plausible_id(file_id)]
        return await self._rows.using(caller.account, plausible, most=_USES_SHOWN)

    async def cancel(self, caller: Caller, batch_id: str) -> BatchState:
        """Ask a batch to stop; raises NotFound, and Conflict where it has ended or is ending."""
        while True:
            before = await self._get(caller, batch_id)
            now = self._clock.now()
            after = _cancelled(before, now)
            if after is before:
                return self._state(before)
            deed = deed_of(caller, "batch.cancelled", batch_id, now)
            if await self._rows.move(before, after, deed):
                _log.info(Fact.BATCH_CANCEL_REQUESTED, batch_id=batch_id)
                self._wake()
                return self._state(after)

    async def _get(self, caller: Caller, batch_id: str) -> Batch:
        plausible = is_plausible_id(batch_id)
        batch = await self._rows.get(caller.account, batch_id) if plausible else None
        if batch is None:
            raise unknown_batch(batch_id)
        return batch

    def _state(self, batch: Batch) -> BatchState:
        progress = None if batch.status.is_terminal else self._progress(batch.id)
        model = batch.model if batch.status is Status.IN_PROGRESS else None
        concurrency = None if model is None else self._concurrency(model)
        return BatchState(batch, foresee(batch, progress, self._clock.now(), concurrency))


def unknown_batch(batch_id: str, param: str | None = None) -> NotFound:
    """There is no such batch for this caller."""
    return NotFound(f"No batch found with id '{shorten(batch_id)}'.", param=param)


def check_spec(spec: BatchSpec, rules: Rules) -> int:
    """Seconds of the completion window; raises InvalidRequest for what cannot be asked for."""
    require_text(spec.input_file_id, low=1, high=_MAX_FILE_ID_CHARS, param="input_file_id")
    supported = supported_endpoints(rules.catalog)
    if spec.endpoint not in supported:
        raise invalid_value(spec.endpoint, supported, "endpoint")
    window = parse_window(spec.completion_window, rules.profile, rules.limits)
    if window is None:
        raise _bad_window(spec.completion_window, rules)
    check_metadata(spec.metadata or {}, rules.profile, allow_private=rules.allow_private_callbacks)
    if spec.budget is not None and not parse_amount(spec.budget):
        message = (
            f"Invalid 'batchmill.budget': expected an amount above zero such as '20.00', "
            f"but got '{shorten(spec.budget)}' instead."
        )
        raise InvalidRequest(message, param="batchmill.budget", code="invalid_value")
    if spec.output_expires_after is not None:
        param = "output_expires_after.seconds"
        check_expires_after(spec.output_expires_after, rules.limits, param=param)
    return window


def _bad_window(window: str, rules: Rules) -> InvalidRequest:
    limits = rules.limits
    if rules.profile is Profile.OPENAI and limits.completion_window_min == DAY:
        return invalid_value(window, ["24h"], "completion_window")
    low, high = _spell(limits.completion_window_min), _spell(limits.completion_window_max)
    message = (
        f"Invalid 'completion_window': expected a whole number with 'h' or 'd' "
        f"from {low} to {high}, but got '{shorten(window)}' instead."
    )
    return InvalidRequest(message, param="completion_window", code="invalid_value")


def _spell(seconds: int) -> str:
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _idempotency(key: str | None, spec: BatchSpec) -> Idempotency | None:
    if key is None:
        return None
    require_text(key, low=1, high=_MAX_KEY_CHARS, param="idempotency_key")
    text = msgspec.json.encode(spec, order="deterministic")
    return Idempotency(key, sha256(text).hexdigest())


def _cancelled(batch: Batch, now: float) -> Batch:
    try:
        return advance(batch, Event.CANCEL_REQUESTED, now)
    except IllegalEvent as illegal:
        message = f"Cannot cancel a batch with status '{illegal.status}'."
        raise Conflict(message) from None
