"""Estimates as clients see them."""

from typing import Literal

from pydantic import Field

from batchmill.api.wire.batches import BatchErrorObject, BatchErrors, CreateAdditions
from batchmill.api.wire.shape import ExpiresAfter, Shape
from batchmill.domain.batch import LineError
from batchmill.domain.estimate import (
    Duration,
    Estimate,
    Method,
    ModelEstimate,
    Output,
    Price,
    Total,
)
from batchmill.domain.money import text_of


class CreateEstimate(Shape):
    """The body of `POST /batches/estimate`: that of a batch, all but the file optional."""

    input_file_id: str = Field(description="The id of an uploaded file.")
    endpoint: str | None = Field(
        default=None, description="The `url` of every line; by default the first line's."
    )
    completion_window: str | None = Field(
        default=None, description="How long the batch may take; by default the shortest window."
    )
    metadata: dict[str, str] | None = None
    output_expires_after: ExpiresAfter | None = None
    batchmill: CreateAdditions | None = None


class PriceObject(Shape):
    """A price outside a batch, and in one: exact amounts, as text."""

    list_price: str
    batch_price: str


class OutputObject(Shape):
    """Output tokens, and what these and the input cost together."""

    output_tokens: int
    list_price: str | None
    batch_price: str | None


class ModelEstimateObject(Shape):
    """What the lines of one model come to; `currency` is null where it has no price."""

    model: str
    lines: int
    input_tokens: int
    method: Literal["tokenizer", "tokenizer_sample", "bytes"] = Field(
        description="Where the input tokens come from: counted line by line by the upstream, "
        "counted in a sample of the lines, or a quarter of the bytes."
    )
    currency: str | None
    input: PriceObject | None = Field(description="The price of the input alone.")
    expected: OutputObject | None = Field(
        description="With the output that this model's answers had on average in the last 30 "
        "days; null where it answered nothing."
    )
    most: OutputObject | None = Field(
        description="With the output that the lines allow; null where one of them has no limit."
    )


class TotalObject(Shape):
    """What all models of a currency come to; null where one of them is not known."""

    currency: str
    input: PriceObject
    expected: PriceObject | None
    most: PriceObject | None


class DurationObject(Shape):
    """How long it would take from now; without `seconds`, `reason` says why."""

    seconds: float | None
    lines_per_second: float | None
    lines_ahead: int
    reason: str | None


class EstimateCounts(Shape):
    """How many lines there are, and how many of them are bad."""

    total: int
    bad: int


class BudgetObject(Shape):
    """The budget that was asked about, and whether the batch stays within it."""

    amount: str
    fits: bool | None


class EstimateObject(Shape):
    """What a batch would come to. A bad file is estimated by its good lines."""

    object: Literal["batch.estimate"] = "batch.estimate"
    input_file_id: str | None
    endpoint: str
    window_seconds: int
    errors: BatchErrors | None
    request_counts: EstimateCounts
    input_tokens: int
    method: Literal["tokenizer", "tokenizer_sample", "bytes"] = Field(
        description="The least exact of the models' methods."
    )
    models: list[ModelEstimateObject]
    totals: list[TotalObject] = Field(description="The sums, by currency.")
    unpriced_models: list[str]
    price_version: str
    duration: DurationObject
    fits_window: bool | None
    budget: BudgetObject | None


def estimate_object(found: Estimate, input_file_id: str | None = None) -> EstimateObject:
    """An estimate as clients see it."""
    return EstimateObject(
        input_file_id=input_file_id,
        endpoint=found.endpoint,
        window_seconds=found.window,
        errors=_errors(found.checked.errors),
        request_counts=EstimateCounts(total=found.checked.lines, bad=found.checked.bad_lines),
        input_tokens=sum(one.input_tokens for one in found.models),
        method=_worst(found).value,
        models=[_model(one) for one in found.models],
        totals=[_total(one) for one in found.totals],
        unpriced_models=list(found.unpriced),
        price_version=found.price_version,
        duration=_duration(found.duration),
        fits_window=found.fits_window,
        budget=_budget(found),
    )


def _errors(errors: tuple[LineError, ...]) -> BatchErrors | None:
    if not errors:
        return None
    data = [
        BatchErrorObject(code=one.code, message=one.message, param=one.param, line=one.line)
        for one in errors
    ]
    return BatchErrors(data=data)


def _worst(found: Estimate) -> Method:
    order = list(Method)
    return max((one.method for one in found.models), key=order.index, default=Method.BYTES)


def _model(one: ModelEstimate) -> ModelEstimateObject:
    return ModelEstimateObject(
        model=one.model,
        lines=one.lines,
        input_tokens=one.input_tokens,
        method=one.method.value,
        currency=one.currency,
        input=_price(one.input),
        expected=_output(one.expected),
        most=_output(one.most),
    )


def _total(one: Total) -> TotalObject:
    return TotalObject(
        currency=one.currency,
        input=_amounts(one.input),
        expected=_price(one.expected),
        most=_price(one.most),
    )


def _price(price: Price | None) -> PriceObject | None:
    return None if price is None else _amounts(price)


def _amounts(price: Price) -> PriceObject:
    return PriceObject(list_price=text_of(price.list_price), batch_price=text_of(price.price))


def _output(output: Output | None) -> OutputObject | None:
    if output is None:
        return None
    price = output.price
    return OutputObject(
        output_tokens=output.tokens,
        list_price=None if price is None else text_of(price.list_price),
        batch_price=None if price is None else text_of(price.price),
    )


def _duration(duration: Duration) -> DurationObject:
    return DurationObject(
        seconds=duration.seconds,
        lines_per_second=duration.lines_per_second,
        lines_ahead=duration.lines_ahead,
        reason=duration.reason,
    )


def _budget(found: Estimate) -> BudgetObject | None:
    if found.budget is None:
        return None
    return BudgetObject(amount=text_of(found.budget), fits=found.fits_budget)
