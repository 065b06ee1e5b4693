"""The waits of a process."""

from __future__ import annotations

import asyncio

import pytest

from workers.process import _first


async def test_the_first_wait_ends_the_others() -> None:
    """They do not go on in the background."""
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("waits")

    async def is_over() -> None:
        await asyncio.sleep(0)

    await _first(waits(), is_over())
    await asyncio.sleep(0)
    assert ["waits"] == ended


async def test_the_error_of_a_wait_is_raised() -> None:
    """A wait that has failed is not one that is over."""

    async def fails() -> None:
        raise LookupError("seen")

    with pytest.raises(LookupError, match="seen"):
        await _first(asyncio.Event().wait(), fails())
