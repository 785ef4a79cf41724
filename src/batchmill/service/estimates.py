"""Estimates: a file read as its batch would read it, and priced before anybody pays.

The file is streamed once, as planning does, and a few lines of it are read
again to have their tokens counted. Nothing is stored, and no upstream that is
down makes an estimate fail.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from batchmill.domain.catalog import ENDPOINTS, TEST_MODEL
from batchmill.domain.demand import Demand, Tally
from batchmill.domain.errors import NotFound
from batchmill.domain.estimate import (
    SAMPLE_BYTES,
    SAMPLE_LINES,
    Assumptions,
    Checked,
    Estimate,
    ModelEstimate,
    appraise,
    foresee,
    has_output,
    with_price_faults,
)
from batchmill.domain.file import File
from batchmill.domain.limits import DAY
from batchmill.domain.lines import (
    CHAT,
    FileCheck,
    LineCutter,
    LineRules,
    RawLine,
    parse_request,
    read_url,
)
from batchmill.domain.money import parse_amount
from batchmill.ports import BlobMissing, Blobs, Clock, Store
from batchmill.service.batches import BatchSpec, ProgressSource, Rules, check_spec
from batchmill.service.caller import Caller
from batchmill.service.files import unknown_file
from batchmill.service.models import supported_endpoints
from batchmill.service.paces import paces_of
from batchmill.service.refusals import is_plausible_id, require_input
from batchmill.service.windows import shortest_window

_AT_ONCE: Final = 2
_MEAN_DAYS: Final = 30


TokenCounter = Callable[[str, Sequence[bytes]], Awaitable[Sequence[int] | None]]
"""The input tokens of each body for a model, by its own tokenizer; None where nobody has that."""


async def count_nothing(_model: str, _bodies: Sequence[bytes]) -> Sequence[int] | None:
    """The counter of a house without upstreams that tell."""
    return None


MeanOutput = Callable[[str, str | None, float], Awaitable[float | None]]
"""Output tokens of a successful line of a model, by account and since when; see UsageStore."""


@dataclass(frozen=True, slots=True)
class EstimateSpec:
    """What is asked about. Without an endpoint the first line's url counts.

    Without a ``completion_window`` the shortest is taken; ``budget`` is an
    amount such as ``20.00``.
    """

    input_file_id: str
    endpoint: str | None = None
    completion_window: str | None = None
    metadata: Mapping[str, str] | None = None
    output_expires_after: int | None = None
    budget: str | None = None


class Estimates:
    """The use-case of estimates; ``mixed_models`` says whether a file may name several."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        clock: Clock,
        rules: Rules,
        mixed_models: bool = False,
        count_tokens: TokenCounter = count_nothing,
        progress: ProgressSource = lambda _: None,
        mean_output: MeanOutput | None = None,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._rules = rules
        self._mixed_models = mixed_models
        self._count_tokens = count_tokens
        self._progress = progress
        self._mean_output = mean_output or store.usage.mean_output
        # Reading and pricing take a processor each: those who ask more wait their turn.
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def estimate(self, caller: Caller, spec: EstimateSpec) -> Estimate:
        """What the batch would come to; raises InvalidRequest, and NotFound for the file."""
        window = check_spec(_as_batch(spec, self._rules), self._rules)
        file = await self._file(caller, spec.input_file_id)
        async with self._turns:
            try:
                return await self._estimate(caller, spec, file, window)
            except BlobMissing:
                await self._file(caller, spec.input_file_id)
                raise

    async def _file(self, caller: Caller, file_id: str) -> File:
        plausible = is_plausible_id(file_id)
        file = await self._store.files.get(caller.account, file_id) if plausible else None
        if file is None or file.is_expired(self._clock.now()):
            raise _unknown_input(file_id)
        require_input(file)
        return file

    async def _estimate(
        self, caller: Caller, spec: EstimateSpec, file: File, window: int
    ) -> Estimate:
        reading = await self._read(caller, spec, file)
        endpoint = reading.endpoint
        models = [
            await self._appraise(caller, file, demand, reading, window)
            for demand in reading.tally.demands()
        ]
        paces = paces_of(await self._store.batches.unfinished(), self._progress)
        found = Estimate(
            endpoint=endpoint,
            window=window,
            checked=reading.checked(),
            price_version=self._rules.prices.version,
            models=tuple(models),
            duration=foresee(models, paces),
            budget=None if spec.budget is None else parse_amount(spec.budget),
        )
        return with_price_faults(found)

    async def _read(self, caller: Caller, spec: EstimateSpec, file: File) -> "_Reading":
        catalog, rules = self._rules.catalog, self._rules
        if caller.models is not None:
            catalog = catalog.restricted(caller.models)
        lines = LineRules(
            endpoint=spec.endpoint or "",
            catalog=catalog,
            profile=rules.profile,
            limits=rules.limits,
            mixed_models=self._mixed_models,
        )
        reading = _Reading(lines, file.bytes)
        async for chunk in self._blobs.read(file.blob):
            await asyncio.to_thread(reading.feed, chunk)
            if reading.is_over:
                break
        await asyncio.to_thread(reading.finish)
        return reading

    async def _appraise(
        self, caller: Caller, file: File, demand: Demand, reading: "_Reading", window: int
    ) -> ModelEstimate:
        now = self._clock.now()
        is_answered = has_output(reading.endpoint)
        mean = None
        if is_answered and demand.model != TEST_MODEL:
            since = now - _MEAN_DAYS * DAY
            mean = await self._mean_output(demand.model, caller.account, since)
        given = Assumptions(
            tariff=self._rules.prices.tariff(demand.model, at=now, window=window),
            thinking=reading.tally.thinking,
            mean_output=mean,
            has_output=is_answered,
        )
        counted = await self._count(file, demand)
        return await asyncio.to_thread(appraise, demand, counted, given)

    async def _count(self, file: File, demand: Demand) -> Mapping[int, int]:
        """The tokens of some lines, or of all if these are few; empty where nobody can tell."""
        sample = demand.sample(SAMPLE_LINES, SAMPLE_BYTES)
        bodies = [await self._body(file, *demand.span(index)) for index in sample]
        counts = await self._count_tokens(demand.model, bodies)
        return {} if counts is None else dict(zip(sample, counts, strict=True))

    async def _body(self, file: File, start: int, end: int) -> bytes:
        pieces = [piece async for piece in self._blobs.read(file.blob, start, end)]
        return parse_request(b"".join(pieces)).body


class _Reading:
    """One pass over an input file. Fed from a thread, one chunk at a time."""

    def __init__(self, rules: LineRules, file_bytes: int) -> None:
        self.tally = Tally()
        self._rules = rules
        self._file_bytes = file_bytes
        self._cutter = LineCutter(rules.limits.max_line_bytes)
        self._check: FileCheck | None = None

    @property
    def endpoint(self) -> str:
        """The endpoint that was named, or that of the first line."""
        return self._rules.endpoint or CHAT

    @property
    def is_over(self) -> bool:
        """Whether reading on would find nothing new."""
        return self._check is not None and self._check.is_overfull

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        self._take(self._cutter.feed(chunk))

    def finish(self) -> None:
        """Take the last line, where nothing ends it."""
        self._take(self._cutter.finish())

    def checked(self) -> Checked:
        """What is wrong with the file, and how many lines it has."""
        check = self._check or FileCheck(self._rules, file_bytes=self._file_bytes)
        return Checked(check.lines, check.faults, check.finish())

    def _take(self, raws: list[RawLine]) -> None:
        for raw in raws:
            if self._check is None:
                self._check = self._begin(raw)
            line = self._check.check(raw)
            if line is not None and raw.data is not None:
                self.tally.add(line, raw.data)

    def _begin(self, first: RawLine) -> FileCheck:
        if not self._rules.endpoint:
            url = read_url(first.data) if first.data else None
            self._rules = replace(self._rules, endpoint=url if url in ENDPOINTS else CHAT)
        return FileCheck(self._rules, file_bytes=self._file_bytes)


def _as_batch(spec: EstimateSpec, rules: Rules) -> BatchSpec:
    return BatchSpec(
        input_file_id=spec.input_file_id,
        endpoint=spec.endpoint or supported_endpoints(rules.catalog)[0],
        completion_window=spec.completion_window or shortest_window(rules.limits),
        metadata=spec.metadata,
        output_expires_after=spec.output_expires_after,
        budget=spec.budget,
    )


def _unknown_input(file_id: str) -> NotFound:
    return unknown_file(file_id, param="input_file_id")
