"""The driver's connection ends once, however often it is told to."""

import asyncio
from pathlib import Path

from batchmill.store.sqlite_connection import OnceStopped


def test_a_connection_that_is_stopped_while_it_closes_comes_to_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        connection = await OnceStopped(str(tmp_path / "one.db"))
        closing = asyncio.create_task(connection.close())
        await asyncio.sleep(0)
        ended = connection.stop()
        assert ended is not None
        await ended
        await closing
        assert connection.stop() is None

    asyncio.run(main())
