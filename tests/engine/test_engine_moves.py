"""Moves go on side by side; whoever stands still sees none of them."""

import asyncio

import pytest

from batchmill.engine.moves import Moves


def test_moves_go_on_side_by_side() -> None:
    async def main() -> None:
        moves = Moves()
        async with moves.moving(), moves.moving():
            pass
        async with moves.still():
            pass

    asyncio.run(main())


def test_who_stands_still_waits_for_what_moves_and_holds_up_what_would() -> None:
    async def main() -> None:
        moves, told = Moves(), list[str]()

        async def still() -> None:
            async with moves.still():
                told.append("still")
                await asyncio.sleep(0)
                told.append("still no more")

        async def moving() -> None:
            async with moves.moving():
                told.append("moving")

        async with moves.moving():
            waiting = asyncio.create_task(still())
            await asyncio.sleep(0)
            late = asyncio.create_task(moving())
            await asyncio.sleep(0)
            told.append("moved")
        await asyncio.gather(waiting, late)
        assert told == ["moved", "still", "still no more", "moving"]

    asyncio.run(main())


def test_a_move_that_breaks_off_is_over() -> None:
    async def main() -> None:
        moves = Moves()
        with pytest.raises(OSError, match="Input/output"):
            async with moves.moving():
                raise OSError(5, "Input/output error")
        async with moves.still():
            pass

    asyncio.run(main())
