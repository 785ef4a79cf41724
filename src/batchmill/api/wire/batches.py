"""Batches as clients see them."""

from typing import Literal

from pydantic import Field

from batchmill.api.wire.shape import ExpiresAfter, Shape, ends_of, seconds_of
from batchmill.domain.batch import Batch
from batchmill.domain.money import text_of
from batchmill.ports import Page
from batchmill.service.batches import BatchState
from batchmill.service.outlook import Concurrency


class CreateAdditions(Shape):
    """What batchmill takes besides on create."""

    budget: str | None = Field(
        default=None,
        description="The most that the batch may spend, such as `20.00`, in the currency of its "
        "model's price. What it is spent on is kept; the rest is not run.",
    )


class CreateBatch(Shape):
    """The body of `POST /batches`."""

    input_file_id: str = Field(description="The id of an uploaded file.")
    endpoint: str = Field(description="The `url` of every line of the file.")
    completion_window: str = Field(
        description="How long the batch may take, from its creation: `24h` to `14d`, or `24h` "
        "alone in the openai profile."
    )
    metadata: dict[str, str] | None = Field(
        default=None,
        description="Up to you. `ds_name`, `ds_description` and `ds_batch_finish_callback` are "
        "known to the qwen profile.",
    )
    output_expires_after: ExpiresAfter | None = Field(
        default=None, description="How long the result files live, from when they are made."
    )
    idempotency_key: str | None = Field(
        default=None, description="The same as the header `Idempotency-Key`."
    )
    batchmill: CreateAdditions | None = None


class BatchErrorObject(Shape):
    """One fault of an input file; `line` counts from 1 and is null for the whole file."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrors(Shape):
    """The faults of an input file."""

    object: Literal["list"] = "list"
    data: list[BatchErrorObject]


class RequestCounts(Shape):
    """How many lines there are, and what became of them."""

    total: int
    completed: int
    failed: int


class InputDetails(Shape):
    """A part of the input tokens."""

    cached_tokens: int


class OutputDetails(Shape):
    """A part of the output tokens."""

    reasoning_tokens: int


class BatchUsage(Shape):
    """The tokens of a batch's successful lines."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class ConcurrencyObject(Shape):
    """The requests that the model's upstreams work on now, for all its batches.

    ``bound`` says why no more are in flight than there are: ``window`` is as many as pay or are
    allowed, ``trial`` a larger window that is being tried, ``upstream`` one that rejects more,
    ``source`` too few lines that are ready, ``down`` a pause of the upstreams.
    """

    in_flight: int
    limit: int
    bound: Literal["window", "trial", "upstream", "source", "down"]


class ProgressObject(Shape):
    """How a batch gets on; null where it cannot be told."""

    lines_per_second: float | None
    eta_seconds: int | None
    queue_position: int | None
    waits_for: str | None
    concurrency: ConcurrencyObject | None


class CostObject(Shape):
    """What a batch costs, and would have cost outside a batch: exact amounts, as text."""

    currency: str
    list_price: str
    price: str
    is_final: bool


class Additions(Shape):
    """What batchmill adds to a batch."""

    progress: ProgressObject
    cost: CostObject | None
    budget: str | None
    halted_by: Literal["budget", "account", "workspace", "key"] | None
    workspace: str
    resent_lines: int
    deadline_risk: bool | None


class BatchObject(Shape):
    """A batch."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: Literal[
        "validating",
        "failed",
        "in_progress",
        "finalizing",
        "completed",
        "expired",
        "cancelling",
        "cancelled",
    ]
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None
    batchmill: Additions


class BatchList(Shape):
    """A page of batches."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


def batch_object(state: BatchState) -> BatchObject:
    """A batch as clients see it."""
    batch = state.batch
    return BatchObject(
        id=batch.id,
        endpoint=batch.endpoint,
        model=batch.model,
        errors=_errors(batch),
        input_file_id=batch.input_file_id,
        completion_window=batch.completion_window,
        status=batch.status.value,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        created_at=int(batch.created_at),
        in_progress_at=seconds_of(batch.in_progress_at),
        expires_at=int(batch.expires_at),
        finalizing_at=seconds_of(batch.finalizing_at),
        completed_at=seconds_of(batch.completed_at),
        failed_at=seconds_of(batch.failed_at),
        expired_at=seconds_of(batch.expired_at),
        cancelling_at=seconds_of(batch.cancelling_at),
        cancelled_at=seconds_of(batch.cancelled_at),
        request_counts=_counts(batch),
        usage=_usage(batch),
        metadata=None if batch.metadata is None else dict(batch.metadata),
        batchmill=_additions(state),
    )


def batch_list(page: Page[BatchState]) -> BatchList:
    """A page of batches as clients see it."""
    data = [batch_object(state) for state in page.items]
    first, last = ends_of(one.id for one in data)
    return BatchList(data=data, first_id=first, last_id=last, has_more=page.has_more)


def _errors(batch: Batch) -> BatchErrors | None:
    if not batch.errors:
        return None
    data = [
        BatchErrorObject(code=one.code, message=one.message, param=one.param, line=one.line)
        for one in batch.errors
    ]
    return BatchErrors(data=data)


def _counts(batch: Batch) -> RequestCounts:
    counts = batch.counts
    return RequestCounts(total=counts.total, completed=counts.completed, failed=counts.failed)


def _usage(batch: Batch) -> BatchUsage:
    usage = batch.usage
    return BatchUsage(
        input_tokens=usage.input,
        input_tokens_details=InputDetails(cached_tokens=usage.cached),
        output_tokens=usage.output,
        output_tokens_details=OutputDetails(reasoning_tokens=usage.reasoning),
        total_tokens=usage.total,
    )


def _concurrency(told: Concurrency | None) -> ConcurrencyObject | None:
    if told is None:
        return None
    return ConcurrencyObject(in_flight=told.in_flight, limit=told.limit, bound=told.bound.value)


def _additions(state: BatchState) -> Additions:
    outlook = state.outlook
    progress = ProgressObject(
        lines_per_second=outlook.lines_per_second,
        eta_seconds=seconds_of(outlook.eta_seconds),
        queue_position=outlook.queue_position,
        waits_for=outlook.waits_for,
        concurrency=_concurrency(outlook.concurrency),
    )
    return Additions(
        progress=progress,
        cost=_cost(state.batch),
        budget=None if state.batch.budget is None else text_of(state.batch.budget),
        halted_by=None if state.batch.halt is None else state.batch.halt.value,
        workspace=state.batch.workspace,
        resent_lines=state.batch.resent,
        deadline_risk=outlook.deadline_risk,
    )


def _cost(batch: Batch) -> CostObject | None:
    if batch.currency is None:
        return None
    return CostObject(
        currency=batch.currency,
        list_price=text_of(batch.list_price),
        price=text_of(batch.price),
        is_final=batch.status.is_terminal,
    )
