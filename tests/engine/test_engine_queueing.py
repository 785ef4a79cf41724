"""An allowance queues batches instead of failing them, and says so."""

import asyncio
from pathlib import Path

from engine_house import House, open_house, some_lines

from batchmill.config import ModelSettings, UpstreamSettings
from batchmill.domain.batch import Batch, Status
from batchmill.upstream.mock import MockUpstream


def models(url: str, lines: int | None, tokens: int | None = None) -> list[ModelSettings]:
    upstreams = (UpstreamSettings(url=url, max_in_flight=8),)
    return [
        ModelSettings(
            name="m", upstreams=upstreams, max_unfinished_lines=lines, max_unfinished_tokens=tokens
        )
    ]


def test_a_batch_above_the_allowance_waits_says_why_and_then_runs(tmp_path: Path) -> None:
    async def main() -> None:
        mock = MockUpstream()
        url = await mock.start()
        mock.hold()
        async with open_house(tmp_path, url, models=models(url, 30)) as house, house.hurry():
            first = await house.submit(some_lines(25))
            await house.until(first, Status.IN_PROGRESS)
            second = await house.submit(some_lines(25))
            file = await house.upload(some_lines(25), account="other")
            other = await house.create(file.id, account="other")
            waits = await told_to_wait(house, second)
            assert "30 unfinished lines of model 'm'" in waits
            assert told(house, first) is told(house, other) is None
            mock.release()
            ended = [await house.until(one) for one in (first, second, other)]
            assert [one.counts.completed for one in ended] == [25, 25, 25]
        await mock.stop()

    asyncio.run(main())


def told(house: House, batch: Batch) -> str | None:
    progress = house.engine.progress().get(batch.id)
    return None if progress is None else progress.waits_for


async def told_to_wait(house: House, batch: Batch) -> str:
    while (waits := told(house, batch)) is None:
        await house.script.until_finished(house.script.finished + 1)
    return waits


def test_a_batch_larger_than_the_allowance_of_tokens_runs_alone(tmp_path: Path) -> None:
    async def main() -> None:
        mock = MockUpstream()
        url = await mock.start()
        async with open_house(tmp_path, url, models=models(url, None, 1)) as house:
            done = await house.until(await house.submit(some_lines(25)))
            assert done.counts.completed == 25
        await mock.stop()

    asyncio.run(main())
