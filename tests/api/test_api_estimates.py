"""Estimates: over HTTP as clients see them, and the use-case with prices, tokenizers and rates."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from api_house import CATALOG, CHAT, House, as_object, fault, open_house, run

from batchmill.api import wire
from batchmill.domain.batch import Event, advance
from batchmill.domain.catalog import Catalog
from batchmill.domain.errors import NotFound
from batchmill.domain.estimate import SAMPLE_LINES, Estimate, Method, Output, Price
from batchmill.domain.limits import DAY, Limits, Profile
from batchmill.domain.money import UNITS
from batchmill.domain.pricing import ModelPrice, PriceTable, Tier
from batchmill.domain.shards import Shard
from batchmill.ports import BlobMissing, Progress
from batchmill.service.batches import Rules
from batchmill.service.caller import Caller
from batchmill.service.estimates import Estimates, EstimateSpec, TokenCounter, count_nothing

KEYS = (
    *("object", "input_file_id", "endpoint", "window_seconds", "errors", "request_counts"),
    *("input_tokens", "method", "models", "totals", "unpriced_models", "price_version"),
    *("duration", "fits_window", "budget"),
)
UNPRICED = "Qwen/Qwen3-8B"  # in the house, whose doors are knocked at; not below
PRICES = PriceTable(
    "v1",
    (
        ModelPrice("qwen-plus", "USD", (Tier(Decimal("0.4"), Decimal("1.2")),)),
        ModelPrice("Qwen/Qwen3-8B", "CNY", (Tier(Decimal(1)),), windows={7 * DAY: Decimal(1)}),
    ),
)


def line(at: int, text: str = "one two", model: str = "qwen-plus", **body: Any) -> bytes:
    messages = [{"role": "user", "content": text}]
    whole = {"custom_id": str(at), "method": "POST", "url": CHAT}
    return json.dumps(whole | {"body": {"model": model, "messages": messages} | body}).encode()


def estimates(house: House, **more: Any) -> Estimates:
    """The use-case over the house's own store, with prices."""
    given = {"rules": Rules(CATALOG, Limits(), Profile.QWEN, PRICES)} | more
    return Estimates(
        store=house.store,
        blobs=house.blobs,
        clock=house.clock,
        progress=house.progress.get,
        **given,
    )


async def estimate(
    house: House, content: bytes, spec: dict[str, Any] | None = None, **more: Any
) -> Estimate:
    file = await house.upload(content)
    return await estimates(house, **more).estimate(
        Caller(), EstimateSpec(file["id"], **(spec or {}))
    )


async def run_batch(house: House, model: str, progress: Progress) -> None:
    """A batch of 1000 lines at work."""
    before = await house.batch((await house.create_batch())["id"])
    after = replace(advance(before, Event.PLANNED, house.clock.now()), model=model)
    shards = [Shard(before.id, at, 0, 10, 1, 500, (model,)) for at in range(2)]
    assert await house.store.batches.plan(before, after, shards)
    house.progress[before.id] = progress


class Words:
    """A tokenizer that counts words, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, model: str, bodies: Sequence[bytes]) -> Sequence[int]:
        self.asked.append((model, len(bodies)))
        return [
            sum(len(one["content"].split()) for one in json.loads(body)["messages"])
            for body in bodies
        ]


# --- over HTTP ---


def test_an_estimate_needs_no_more_than_a_file(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            content = b"\n".join(line(at, model=UNPRICED) for at in range(2))
            file = await house.upload(content)
            answer = await house.client.post(
                "/v1/batches/estimate", json={"input_file_id": file["id"]}
            )
            found = as_object(answer)
            assert tuple(found) == KEYS
            assert (found["object"], found["endpoint"]) == ("batch.estimate", CHAT)
            assert found["request_counts"] == {"total": 2, "bad": 0}
            assert (found["window_seconds"], found["method"]) == (DAY, "bytes")
            assert found["unpriced_models"] == [UNPRICED]
            assert found["totals"] == []
            assert found["duration"]["reason"]
            assert found["errors"] is found["fits_window"] is found["budget"] is None
            page = await house.client.get("/v1/batches")
            assert as_object(page)["data"] == []

    run(main())


def test_the_whole_body_of_a_batch_is_taken(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload(line(1, model=UNPRICED))
            body = {
                "input_file_id": file["id"],
                "endpoint": CHAT,
                "completion_window": "7d",
                "metadata": {"ds_name": "nightly"},
                "output_expires_after": {"anchor": "created_at", "seconds": 3600},
                "batchmill": {"budget": "20.00"},
            }
            answer = await house.client.post("/compatible-mode/v1/batches/estimate", json=body)
            found = as_object(answer)
            assert answer.status_code == 200
            assert found["window_seconds"] == 7 * DAY
            assert found["budget"] == {"amount": "20", "fits": None}
            assert [one["code"] for one in found["errors"]["data"]] == ["model_not_priced"]

    run(main())


@pytest.mark.parametrize(
    ("field", "param", "status"),
    [
        ({"input_file_id": "file-batch-0"}, "input_file_id", 404),
        ({"input_file_id": 7}, "input_file_id", 400),
        ({"input_file_id": "x\0"}, "input_file_id", 400),
        ({"endpoint": "/v1/images"}, "endpoint", 400),
        ({"completion_window": "23h"}, "completion_window", 400),
        ({"metadata": {"a": 1}}, "metadata.a", 400),
        ({"batchmill": {"budget": "-1"}}, "batchmill.budget", 400),
        ({"batchmill": {"budget": "0"}}, "batchmill.budget", 400),
    ],
)
def test_what_cannot_be_asked_for_is_refused_as_on_create(
    tmp_path: Path, field: dict[str, Any], param: str, status: int
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload()
            body = {"input_file_id": file["id"]} | field
            answer = await house.client.post("/v1/batches/estimate", json=body)
            assert answer.status_code == status
            assert fault(answer)["param"] == param

    run(main())


def test_every_fault_is_named_with_its_line(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            content = b"\n".join([line(1), line(1), b"{}", line(4, model="unknown"), line(5)])
            file = await house.upload(content)
            answer = await house.client.post(
                "/v1/batches/estimate", json={"input_file_id": file["id"]}
            )
            found = as_object(answer)
            assert [(one["line"], one["code"]) for one in found["errors"]["data"]] == [
                (2, "duplicate_custom_id"),
                (3, "missing_required_parameter"),
                (4, "model_not_found"),
            ]
            assert found["request_counts"] == {"total": 5, "bad": 3}
            assert found["models"][0]["lines"] == 2

    run(main())


def test_amounts_are_exact_text(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            found = await estimate(house, line(1, max_tokens=7), count_tokens=Words())
            from_wire = wire_of(found)
            assert from_wire["models"][0]["input"] == {
                "list_price": "0.0000008",
                "batch_price": "0.0000004",
            }
            assert from_wire["totals"][0]["most"] == {
                "list_price": "0.0000092",
                "batch_price": "0.0000046",
            }

    run(main())


def wire_of(found: Estimate) -> dict[str, Any]:
    return wire.estimate_object(found).model_dump()


# --- the use-case ---


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_few_lines_are_all_counted(tmp_path: Path, end: bytes) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            words = Words()
            content = b"\xef\xbb\xbf" + b"\n\n".join([line(1, "a"), line(2, "a b c")]) + end
            found = await estimate(house, content, count_tokens=words)
            (one,) = found.models
            assert (one.method, one.input_tokens) == (Method.TOKENIZER, 4)
            assert one.input == Price(4 * 400 * 10**6, 4 * 200 * 10**6)
            assert words.asked == [("qwen-plus", 2)]

    run(main())


@pytest.mark.parametrize(
    ("lines", "method"), [(SAMPLE_LINES, Method.TOKENIZER), (SAMPLE_LINES + 1, Method.SAMPLE)]
)
def test_many_lines_are_counted_by_a_sample(tmp_path: Path, lines: int, method: Method) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            words = Words()
            content = b"\n".join(line(at) for at in range(lines))
            (one,) = (await estimate(house, content, count_tokens=words)).models
            assert (one.method, one.input_tokens) == (method, 2 * lines)
            assert words.asked == [("qwen-plus", SAMPLE_LINES)]

    run(main())


def test_without_a_tokenizer_a_quarter_of_the_bytes_is_taken(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            (one,) = (await estimate(house, line(1))).models
            text = len('[{"role": "user", "content": "one two"}]')
            assert (one.method, one.input_tokens) == (Method.BYTES, -(-text // 4))

    run(main())


def test_mixed_models_are_priced_each_by_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            content = b"\n".join([line(1, "a"), line(2, "b c", "Qwen/Qwen3-8B")])
            counter: TokenCounter = Words()
            spec = {"completion_window": "7d"}
            found = await estimate(house, content, spec, count_tokens=counter, mixed_models=True)
            assert [(one.currency, one.input) for one in found.models] == [
                ("USD", Price(400 * 10**6, 200 * 10**6)),
                ("CNY", Price(2_000 * 10**6, 0)),  # all of it is taken off for so long a window
            ]
            assert [one.code for one in found.checked.errors] == ["mismatched_currency"]

    run(main())


def test_a_file_of_two_models_is_at_fault_where_that_is_not_allowed(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            content = b"\n".join([line(1), line(2, model="Qwen/Qwen3-8B")])
            found = await estimate(house, content)
            assert [one.code for one in found.checked.errors] == ["mismatched_model"]

    run(main())


def test_a_key_that_may_not_use_the_model_is_told_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload()
            caller = Caller(models=frozenset({"Qwen/Qwen3-8B"}))
            found = await estimates(house).estimate(caller, EstimateSpec(file["id"]))
            assert [one.code for one in found.checked.errors] == ["model_not_found"]

    run(main())


def test_a_file_of_another_account_does_not_exist(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload()
            with pytest.raises(NotFound):
                await estimates(house).estimate(Caller("other"), EstimateSpec(file["id"]))

    run(main())


def test_a_file_that_has_too_many_lines_is_not_read_to_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            rules = Rules(CATALOG, Limits(max_lines=2), Profile.QWEN, PRICES)
            content = b"\n".join(line(at) for at in range(4))
            found = await estimate(house, content, rules=rules)
            assert [one.code for one in found.checked.errors] == ["too_many_requests_in_file"]
            assert found.models[0].lines == 2

    run(main())


def test_the_endpoint_is_the_first_lines_url(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            whole = {"custom_id": "1", "method": "POST", "url": "/v1/embeddings"}
            body = {"model": "Qwen/Qwen3-8B", "input": "a" * 40}
            content = json.dumps(whole | {"body": body}).encode()
            found = await estimate(house, content)
            assert (found.endpoint, found.checked.errors) == ("/v1/embeddings", ())
            (one,) = found.models
            assert one.expected == one.most == Output(0, one.input)

    run(main())


def test_the_duration_counts_what_is_ahead_at_the_present_rate(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for model, rate in (("qwen-plus", 8.0), ("qwen-plus", 2.0), ("other", 5.0)):
                await run_batch(house, model, Progress(None, rate))
            found = await estimate(house, line(1))
            assert found.duration.lines_per_second == 10.0
            assert found.duration.lines_ahead == 2_000
            assert found.duration.seconds == 200.1
            assert found.fits_window is True

    run(main())


def test_what_is_expected_goes_by_the_answers_of_late(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            asked: list[tuple[str, str | None, float]] = []

            async def mean_output(model: str, account: str | None, since: float) -> float:
                asked.append((model, account, since))
                return 2.5

            found = await estimate(house, b"\n".join([line(1), line(2)]), mean_output=mean_output)
            (one,) = found.models
            assert one.expected is not None
            assert one.expected.tokens == 5
            assert asked == [("qwen-plus", "default", house.clock.now() - 30 * DAY)]

    run(main())


def test_a_budget_is_judged(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            content = line(1, max_tokens=10**6)
            for budget, fits in (("0.61", True), ("0.6", False)):
                found = await estimate(house, content, {"budget": budget})
                assert (found.budget, found.fits_budget) == (
                    int(Decimal(budget) * UNITS),
                    fits,
                )

    run(main())


def test_no_more_than_two_estimates_are_made_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            entered, gate = asyncio.Semaphore(0), asyncio.Event()
            inside: list[int] = []
            now = 0

            async def slow(model: str, bodies: Sequence[bytes]) -> None:
                nonlocal now
                now += 1
                inside.append(now)
                entered.release()
                await gate.wait()
                now -= 1

            service = estimates(house, count_tokens=slow)
            file = await house.upload()
            spec = EstimateSpec(file["id"])
            tasks = [asyncio.create_task(service.estimate(Caller(), spec)) for _ in range(6)]
            await entered.acquire()
            await entered.acquire()
            gate.set()
            await asyncio.gather(*tasks)
            assert max(inside) == 2
            assert len(inside) == 6

    run(main())


def test_a_file_that_goes_meanwhile_is_not_found(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload()

            class Deleted:
                """Blobs whose bytes go, with their row, when they are first read."""

                async def read(self, key: str) -> AsyncIterator[bytes]:
                    await house.store.files.delete("default", file["id"])
                    if key:
                        raise BlobMissing(key)
                    yield b""

            blobs: Any = Deleted()
            service = Estimates(
                store=house.store,
                blobs=blobs,
                clock=house.clock,
                rules=Rules(CATALOG, Limits(), Profile.QWEN),
            )
            with pytest.raises(NotFound):
                await service.estimate(Caller(), EstimateSpec(file["id"]))

    run(main())


def test_the_shortest_window_is_taken_where_none_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for shortest, window in ((5, 5), (3_600, 3_600), (5_400, 7_200), (DAY, DAY)):
                limits = replace(Limits(), completion_window_min=shortest)
                rules = Rules(CATALOG, limits, Profile.QWEN)
                assert (await estimate(house, line(1), rules=rules)).window == window
            rules = Rules(CATALOG, Limits(), Profile.OPENAI)
            assert (await estimate(house, line(1), rules=rules)).window == DAY

    run(main())


def test_the_test_model_is_free_and_not_unpriced(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            content = line(1, model="batch-test-model").replace(CHAT.encode(), b"/v1/chat/ds-test")
            found = await estimate(house, content, count_tokens=count_nothing)
            assert (found.checked.errors, found.unpriced, found.totals) == ((), (), ())

    run(main())


def test_a_server_of_embeddings_alone_estimates_as_well(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            rules = Rules(
                Catalog({"e": frozenset({"/v1/embeddings"})}), Limits(), Profile.QWEN, PRICES
            )
            found = await estimate(house, line(1), rules=rules)
            assert [one.code for one in found.checked.errors] == ["model_not_found"]

    run(main())
