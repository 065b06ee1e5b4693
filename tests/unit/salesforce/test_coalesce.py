"""Many callers, one request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from closedwon.salesforce.api.coalesce import Coalescer


class Sender:
    """Doubles numbers and records the batches; waits for `gate` first."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.running = self.most_running = 0

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        self.begun.set()
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        await self.gate.wait()
        self.running -= 1
        return [ValueError(f"{item} is bad") if item < 0 else item * 2 for item in items]


async def test_concurrent_callers_share_a_request() -> None:
    """Items of the same moment are sent together, and each caller gets its own result."""
    sender = Sender()
    coalescer = Coalescer(sender, limit=100, parallel=1)

    assert [2, 4, 6] == await asyncio.gather(*(coalescer.submit(number) for number in (1, 2, 3)))
    assert [[1, 2, 3]] == sender.batches


async def test_no_request_is_larger_than_its_limit() -> None:
    """More callers than the limit need several requests."""
    sender = Sender()
    coalescer = Coalescer(sender, limit=10, parallel=4)
    await asyncio.gather(*(coalescer.submit(number) for number in range(35)))

    assert [10, 10, 10, 5] == [len(batch) for batch in sender.batches]


async def test_items_that_wait_for_a_slot_are_sent_together() -> None:
    """While a request is in progress, later callers form one batch."""
    sender = Sender()
    sender.gate.clear()
    coalescer = Coalescer(sender, limit=100, parallel=1)
    first = asyncio.create_task(coalescer.submit(0))
    await sender.begun.wait()
    later = [asyncio.create_task(coalescer.submit(number)) for number in range(1, 30)]
    await asyncio.sleep(0)
    sender.gate.set()
    await asyncio.gather(first, *later)

    assert [1, 29] == [len(batch) for batch in sender.batches]
    assert 1 == sender.most_running


async def test_items_of_one_key_keep_their_order_in_separate_requests() -> None:
    """Two updates of one record never share a request, and the later one is sent later."""
    sender = Sender()
    coalescer = Coalescer(sender, limit=100, parallel=1, key=lambda number: number % 10)
    await asyncio.gather(*(coalescer.submit(number) for number in (1, 2, 11, 21, 3)))

    assert [[1, 2, 3], [11], [21]] == sender.batches


async def test_one_bad_item_fails_alone() -> None:
    """An error for one item reaches its caller only."""
    coalescer = Coalescer(Sender(), limit=100, parallel=1)
    good, bad = await asyncio.gather(coalescer.submit(1), coalescer.submit(-1), return_exceptions=True)

    assert 2 == good
    assert isinstance(bad, ValueError)


async def test_a_failed_request_raises_a_separate_error_for_each_caller() -> None:
    """Callers do not share one exception object, whose traceback would grow with each of them."""

    async def fail(_: Sequence[int]) -> list[int | Exception]:
        raise ConnectionError("the line is dead")

    coalescer = Coalescer(fail, limit=100, parallel=1)
    errors = await asyncio.gather(*(coalescer.submit(number) for number in range(5)), return_exceptions=True)

    assert ["the line is dead"] * 5 == [str(error) for error in errors]
    assert 5 == len({id(error) for error in errors})


async def test_the_item_of_a_cancelled_caller_is_not_sent() -> None:
    """The other callers get their results."""
    sender = Sender()
    coalescer = Coalescer(sender, limit=100, parallel=1)
    gone = asyncio.create_task(coalescer.submit(1))
    stays = asyncio.create_task(coalescer.submit(2))
    await asyncio.sleep(0)
    gone.cancel()

    assert 4 == await stays
    assert [[2]] == sender.batches


async def test_closing_cancels_all_callers() -> None:
    """It cancels callers that wait for a response and callers whose item is not sent yet."""
    sender = Sender()
    sender.gate.clear()
    coalescer = Coalescer(sender, limit=1, parallel=1)
    waiting = [asyncio.create_task(coalescer.submit(number)) for number in range(3)]
    await sender.begun.wait()
    await coalescer.close()

    for task in waiting:
        with pytest.raises(asyncio.CancelledError):
            await task
