"""The course of a batch is for those of its account."""

from pathlib import Path

import pytest
from lines_house import CALLER, STRANGER, file_of, opened, request_line, run

from batchmill.domain.errors import NotFound
from batchmill.service.course import Course


def test_a_course_is_told_to_the_account_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(file_of(request_line("a")))
            course = Course(store=ground.store)
            await story.close_shard(0)
            assert list(await course.of(CALLER, story.id)) == [], "nothing was metered"
            with pytest.raises(NotFound):
                await course.of(STRANGER, story.id)

    run(main())
