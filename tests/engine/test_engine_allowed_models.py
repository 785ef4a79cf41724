"""A key that may use some models alone gets no other one answered."""

import asyncio
from pathlib import Path

import pytest
from engine_house import open_house, some_lines

from batchmill.domain.batch import Status
from batchmill.upstream.mock import MockUpstream


@pytest.mark.parametrize(
    ("allowed", "status"),
    [
        (None, Status.COMPLETED),
        (("m",), Status.COMPLETED),
        (("other", "m"), Status.COMPLETED),
        (("other",), Status.FAILED),
        ((), Status.FAILED),
    ],
)
@pytest.mark.parametrize("models_any", [False, True])
def test_lines_may_name_the_allowed_models_alone(
    allowed: tuple[str, ...] | None, status: Status, models_any: bool, tmp_path: Path
) -> None:
    async def main() -> None:
        mock = MockUpstream()
        url = await mock.start()
        async with open_house(tmp_path, url, models_any=models_any) as house:
            done = await house.until(await house.submit(some_lines(3), allowed_models=allowed))
            assert done.status is status
            codes = {error.code for error in done.errors}
            assert codes == ({"model_not_found"} if status is Status.FAILED else set())
            assert bool(mock.hits) == (status is Status.COMPLETED)
        await mock.stop()

    asyncio.run(main())
