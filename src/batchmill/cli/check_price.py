"""What ``check --price`` adds: the estimate of a file without a server.

The arithmetic is the server's own. Loaded only where it is asked for: settings
and the network are no business of a plain check.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from batchmill.api.wire.estimates import estimate_object
from batchmill.cli.check_places import Places
from batchmill.cli.serve import upstream_settings
from batchmill.cli.streams import plural
from batchmill.config import ModelSettings, load_prices, load_settings, read_prices
from batchmill.domain.catalog import ANY_MODEL
from batchmill.domain.demand import Demand, Tally
from batchmill.domain.estimate import (
    SAMPLE_BYTES,
    SAMPLE_LINES,
    Assumptions,
    Checked,
    Duration,
    Estimate,
    Method,
    ModelEstimate,
    Total,
    appraise,
    has_output,
    with_price_faults,
)
from batchmill.domain.lines import parse_request
from batchmill.domain.money import text_of
from batchmill.domain.pricing import PriceTable
from batchmill.telemetry import configure_logging
from batchmill.upstream.tokenizer import Tokenizer
from batchmill.wiring.upstreams import UpstreamCounter

_NO_RATE: Final = "Only a server knows how fast it is: ask it with POST /v1/batches/estimate."
_HOW: Final = {
    Method.TOKENIZER: "counted by the upstream",
    Method.SAMPLE: "counted by the upstream in a sample",
    Method.BYTES: "a quarter of the bytes",
}


@dataclass(frozen=True, slots=True)
class Question:
    """A file that was checked; ``window`` is in seconds."""

    endpoint: str
    window: int
    checked: Checked
    tally: Tally


def estimate(stream: BinaryIO, question: Question, places: Places) -> Estimate:
    """What the file in ``stream``, which can seek, would come to; raises ConfigError."""
    configure_logging("error")
    settings = load_settings(file=places.config, env=os.environ, flags={}).settings
    table = read_prices(places.prices) if places.prices else load_prices(settings)
    count = UpstreamCounter(_models(places) or settings.models, Tokenizer(time.monotonic))
    return with_price_faults(
        Estimate(
            endpoint=question.endpoint,
            window=question.window,
            checked=question.checked,
            price_version=table.version,
            models=asyncio.run(_appraise_all(stream, question, table, count)),
            duration=Duration(reason=_NO_RATE),
        )
    )


def _models(places: Places) -> Sequence[ModelSettings]:
    if places.upstream is None:
        return ()
    asked = upstream_settings([places.upstream], places.upstream_key_env)
    return [ModelSettings(name=ANY_MODEL, upstreams=tuple(asked))]


async def _appraise_all(
    stream: BinaryIO, question: Question, table: PriceTable, count: UpstreamCounter
) -> tuple[ModelEstimate, ...]:
    now, found = time.time(), []
    for demand in question.tally.demands():
        given = Assumptions(
            tariff=table.tariff(demand.model, at=now, window=question.window),
            thinking=question.tally.thinking,
            has_output=has_output(question.endpoint),
        )
        found.append(appraise(demand, await _count(stream, demand, count), given))
    return tuple(found)


async def _count(stream: BinaryIO, demand: Demand, count: UpstreamCounter) -> Mapping[int, int]:
    sample = demand.sample(SAMPLE_LINES, SAMPLE_BYTES)
    counts = await count(demand.model, list(_bodies(stream, demand, sample)))
    return {} if counts is None else dict(zip(sample, counts, strict=True))


def _bodies(stream: BinaryIO, demand: Demand, sample: Sequence[int]) -> Iterator[bytes]:
    for index in sample:
        start, end = demand.span(index)
        stream.seek(start)
        yield parse_request(stream.read(end - start)).body


def as_json(found: Estimate) -> dict[str, Any]:
    """The estimate as the API shows it."""
    return estimate_object(found).model_dump()


def facts_of(found: Estimate) -> list[str]:
    """The estimate in a few lines."""
    facts = [
        f"{one.model}: {plural(one.lines, 'line')}, {one.input_tokens:,} input tokens "
        f"({_HOW[one.method]})"
        for one in found.models
    ]
    facts.extend(fact for total in found.totals for fact in _total(total))
    if found.unpriced:
        facts.append(f"no price for {', '.join(found.unpriced)}: name a table with --prices")
    return facts


def _total(total: Total) -> Iterator[str]:
    paid, listed = text_of(total.input.price), text_of(total.input.list_price)
    yield f"input: {paid} {total.currency} in a batch, {listed} outside"
    if total.most is None:
        yield "with output: not bounded, for lines have no max_tokens"
    else:
        paid, listed = text_of(total.most.price), text_of(total.most.list_price)
        yield f"with output: at most {paid} {total.currency} in a batch, {listed} outside"
