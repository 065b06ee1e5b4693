"""How tests wait: for as long as something moves, and no longer than that where nothing does."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.support.waiting import until


async def test_a_wait_goes_on_while_there_is_progress() -> None:
    """Ten times the patience passes; each time something has moved meanwhile."""
    steps = itertools.count()
    looks = 0

    async def holds() -> bool:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.005)
        return looks > 100

    await until(holds, progress=lambda: next(steps), stall=0.05)

    assert next(steps) > 2


@pytest.mark.parametrize("progress", [None, lambda: 7])
async def test_a_wait_in_which_nothing_moves_fails_and_names_its_condition(progress: object) -> None:
    """The name and the place of the condition are in the error."""

    def never_holds() -> bool:
        return False

    with pytest.raises(TimeoutError, match=r"nothing has moved for 0\.05 s: never_holds \(.*test_waiting\.py:"):
        await until(never_holds, progress=progress, stall=0.05)  # type: ignore[arg-type]


async def test_a_condition_that_hangs_is_ended_too() -> None:
    """A call that never answers does not count as progress."""

    async def hangs() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError, match="a call"):
        await until(hangs, what="a call", stall=0.05)


async def test_a_timeout_of_the_condition_itself_is_not_taken_for_the_end_of_patience() -> None:
    """It is the condition's own error."""

    def fails() -> bool:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        await until(fails, stall=0.05)
