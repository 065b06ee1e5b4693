"""`closedwon top` ends when it is asked to, whatever it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from closedwon.cli.top import _top


async def test_an_answer_that_is_cut_off_does_not_keep_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the call that is under way, and the page takes that for a Temporal that does not respond."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal
    asking = asyncio.Event()

    async def pages() -> AsyncIterator[str]:
        yield "all is well"
        try:
            asking.set()
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            yield "Temporal does not respond"
        while True:
            yield "a page after the end"

    task = asyncio.create_task(_top(pages(), every=0.01, once=False))
    await asking.wait()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=20)
    task.cancel()

    assert {task} == done
