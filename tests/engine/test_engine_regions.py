"""A line is computed where its model allows it and nowhere else, and the ledger says where."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from engine_fakes import GOOD, Rig, ScriptedTransport, a_desk, an_upstream, run_rig, settle_down
from engine_house import House, a_line, open_house, some_lines
from engine_money import PRICES, check_bill
from sqlalchemy import select

from batchmill.config import ModelSettings, UpstreamSettings
from batchmill.domain.batch import Batch, Status
from batchmill.domain.catalog import TEST_ENDPOINT, TEST_MODEL
from batchmill.ports import FaultKind, TransportFault
from batchmill.store import SqlStore
from batchmill.store.tables import ledger
from batchmill.upstream.mock import MockUpstream, Script

DOWN = Script(rate_5xx=1.0)


@asynccontextmanager
async def upstreams(*regions: str | None) -> AsyncIterator[Mapping[str | None, MockUpstream]]:
    """A model server in each region."""
    mocks = {region: MockUpstream() for region in regions}
    for mock in mocks.values():
        await mock.start()
    try:
        yield mocks
    finally:
        for mock in mocks.values():
            await mock.stop()


def model_of(
    mocks: Mapping[str | None, MockUpstream], *rule: str, name: str = "m"
) -> ModelSettings:
    servers = [
        UpstreamSettings(url=mock.url, region=region, max_in_flight=4)
        for region, mock in mocks.items()
    ]
    return ModelSettings(name=name, upstreams=tuple(servers), compute_regions=rule)


async def ledger_by_region(house: House, batch: Batch) -> dict[str, int]:
    """Settled lines by the region that the ledger names."""
    store = house.rows
    assert isinstance(store, SqlStore)
    columns = select(ledger.c.region, ledger.c.calls).where(ledger.c.batch_id == batch.id)
    sums: Counter[str] = Counter()
    async with store._database.read() as connection:
        for region, calls in (await connection.execute(columns)).all():
            sums[region] += calls
    return dict(sums)


def by_region(lines: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Result lines by the region that they name."""
    return dict(Counter(line["response"].get("region", "") for line in lines))


def test_no_line_leaves_its_regions_when_what_is_there_fails(tmp_path: Path) -> None:
    """Out of order, then gone altogether: the lines wait for what is allowed to come back."""

    async def main() -> None:
        async with upstreams("eu", "us", None) as mocks:
            eu = mocks["eu"]
            eu.script = DOWN
            port = int(eu.url.rsplit(":", 1)[1].removesuffix("/v1"))
            models = [model_of(mocks, "eu")]
            async with open_house(tmp_path, models=models, prices=PRICES) as house, house.hurry():
                batch = await house.submit(some_lines(30))
                await eu.wait_for_hits(12)
                await eu.stop()
                await house.script.until_finished(house.script.finished + 60)
                assert (await house.get(batch)).status is Status.IN_PROGRESS
                eu.script = Script()
                await eu.start(port=port)
                done = await house.until(batch)
                output, _ = await house.results(done)
                await check_bill(house, done, some_lines(30))
                assert await ledger_by_region(house, done) == {"eu": 30}
            assert by_region(output) == {"eu": 30}
            assert mocks["us"].hits == mocks[None].hits == {}

    asyncio.run(main())


def test_lines_of_several_allowed_regions_are_charged_by_the_region(tmp_path: Path) -> None:
    async def main() -> None:
        async with upstreams("eu", "us", "cn", None) as mocks:
            models = [model_of(mocks, "*", "!cn")]
            lines = some_lines(47)
            async with open_house(tmp_path, models=models, prices=PRICES) as house:
                done = await house.until(await house.submit(lines))
                output, _ = await house.results(done)
                await check_bill(house, done, lines)
                found = by_region(output)
                assert set(found) == {"eu", "us"}
                assert await ledger_by_region(house, done) == found
            assert mocks["cn"].hits == mocks[None].hits == {}
            assert {region: len(mocks[region].hits) for region in found} == found

    asyncio.run(main())


def test_the_ledger_is_exact_by_region_after_the_engine_was_cut_off(tmp_path: Path) -> None:
    """What an earlier attempt settled keeps the region that had served it."""

    async def main() -> None:
        lines = some_lines(60)
        async with upstreams("eu", "us") as mocks:
            for mock in mocks.values():
                mock.script = Script(latency=0.003)
            options: dict[str, Any] = {"prices": PRICES, "sync_interval": 0.0}
            both = [model_of(mocks, "*")]
            async with open_house(tmp_path, models=both, **options) as house:
                batch = await house.submit(lines)
                await mocks["us"].wait_for_hits(12)
            settled = {region: len(mock.hits) for region, mock in mocks.items()}
            assert sum(settled.values()) < 60
            # From now on only one of them may compute; the other's results count all the same.
            alone = [model_of(mocks, "eu")]
            async with open_house(tmp_path, models=alone, **options) as house, house.hurry():
                done = await house.until(batch)
                output, _ = await house.results(done)
                await check_bill(house, done, lines)
                found = by_region(output)
                assert await ledger_by_region(house, done) == found
            assert 0 < found["us"] <= settled["us"] == len(mocks["us"].hits)
            assert found["eu"] + found["us"] == 60

    asyncio.run(main())


@pytest.mark.parametrize("models_any", [False, True])
def test_a_model_that_no_allowed_upstream_serves_is_not_found(
    models_any: bool, tmp_path: Path, log_text: StringIO
) -> None:
    """Nothing is sent, and the operator is told at the start."""

    async def main() -> None:
        async with upstreams("eu", None) as mocks:
            models = [model_of(mocks, "cn"), model_of(mocks, "*", name="*")]
            options: dict[str, Any] = {"models": models, "models_any": models_any}
            async with open_house(tmp_path, **options) as house:
                failed = await house.until(await house.submit(some_lines(3)))
                assert failed.status is Status.FAILED
                assert {error.code for error in failed.errors} == {"model_not_found"}
                assert mocks["eu"].hits == mocks[None].hits == {}
        barred = [line for line in log_text.getvalue().splitlines() if "model_barred" in line]
        assert len(barred) == 1
        assert '"model": "m"' in barred[0]

    asyncio.run(main())


def test_a_batch_that_was_planned_before_a_rule_waits_rather_than_leave_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with upstreams("eu") as mocks:
            mocks["eu"].hold()
            async with open_house(tmp_path, models=[model_of(mocks, "*")]) as house:
                batch = await house.submit(some_lines(4), window=60.0)
                await mocks["eu"].wait_for_hits(4)
            mocks["eu"].release()
            sent = mocks["eu"].stats.requests
            models = [model_of(mocks, "!eu")]
            async with open_house(tmp_path, models=models) as house, house.hurry():
                done = await house.until(batch)
                assert done.status is Status.EXPIRED
            assert mocks["eu"].stats.requests == sent

    asyncio.run(main())


def test_failed_lines_say_where_they_failed_as_far_as_there_is_an_answer(tmp_path: Path) -> None:
    """Those without one are in the ledger under the region that was asked last."""

    async def main() -> None:
        async with upstreams("eu") as mocks:
            mocks["eu"].script = Script(rate_error_body=0.3, rate_5xx=0.4, status_5xx=500, seed=3)
            models = [model_of(mocks, "eu")]
            options: dict[str, Any] = {"models": models, "max_attempts": 1, "prices": PRICES}
            async with open_house(tmp_path, **options) as house, house.hurry():
                done = await house.until(await house.submit(some_lines(30)))
                output, error = await house.results(done)
                await check_bill(house, done, some_lines(30))
                assert await ledger_by_region(house, done) == {"eu": 30}
            answered = [line for line in error if line["response"] is not None]
            assert 0 < len(answered) < len(error)
            assert by_region(answered) == {"eu": len(answered)}
            assert by_region(output) == {"eu": len(output)}
            assert list(output[0]["response"]) == ["status_code", "request_id", "region", "body"]

    asyncio.run(main())


@pytest.mark.parametrize("region", [None, "sg"])
def test_the_test_model_is_computed_where_the_deployment_is(
    region: str | None, tmp_path: Path
) -> None:
    async def main() -> None:
        lines = [{**a_line(n, TEST_MODEL), "url": TEST_ENDPOINT} for n in range(1, 4)]
        async with open_house(tmp_path, "http://127.0.0.1:9/v1", region=region) as house:
            done = await house.until(await house.submit(lines, endpoint=TEST_ENDPOINT))
            output, _ = await house.results(done)
            assert [line["response"].get("region") for line in output] == [region] * 3
            assert await ledger_by_region(house, done) == {region or "": 3}

    asyncio.run(main())


def test_a_line_that_was_tried_in_two_regions_is_counted_where_it_was_answered() -> None:
    first = ScriptedTransport([TransportFault(FaultKind.TIMEOUT)])
    second = ScriptedTransport([GOOD])
    eu = an_upstream(first, 4, "a", region="eu")
    us = an_upstream(second, 4, "b", region="us", weight=0.1)

    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, 1)
        await settle_down()
        assert (len(first.sent), len(second.sent)) == (1, 0)
        us.weight = 10.0
        await rig.clock.skip()
        await settle_down()
        assert (len(first.sent), len(second.sent)) == (1, 1)
        assert desk.record.region == "us"
        [entry] = desk.active.tally(0.0).entries
        assert (entry.region, entry.calls, entry.retries) == ("us", 1, 1)

    asyncio.run(run_rig([eu, us], test))
