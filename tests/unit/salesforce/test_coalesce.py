"""Many callers, one request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from statistics import mean

import pytest

from closedwon.salesforce.api.coalesce import Coalescer, InFlight, Keys
from closedwon.salesforce.api.window import Window
from tests.support import virtual_time


class Sender:
    """Doubles numbers and records the batches, with the seconds at which they left; waits for `gate` first."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.left_at: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.running = self.most_running = 0

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        self.left_at.append(round(asyncio.get_running_loop().time(), 3))
        self.begun.set()
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        await self.gate.wait()
        self.running -= 1
        return [ValueError(f"{item} is bad") if item < 0 else item * 2 for item in items]


def over(
    send: Callable[[Sequence[int]], Awaitable[list[int | Exception]]],
    *,
    limit: int = 100,
    parallel: int = 1,
    keys: Callable[[int], Keys] | None = None,
    in_flight: InFlight | None = None,
) -> Coalescer[int, int]:
    """A coalescer whose window follows the time of the loop."""
    window = Window(clock=asyncio.get_running_loop().time)
    return Coalescer(send, limit=limit, parallel=parallel, window=window, keys=keys, in_flight=in_flight)


async def test_concurrent_callers_share_a_request() -> None:
    """Items of the same moment are sent together, and each caller gets its own result."""
    sender = Sender()
    coalescer = over(sender)

    assert [2, 4, 6] == await asyncio.gather(*(coalescer.submit(number) for number in (1, 2, 3)))
    assert [[1, 2, 3]] == sender.batches


async def test_no_request_is_larger_than_its_limit() -> None:
    """More callers than the limit need several requests."""
    sender = Sender()
    coalescer = over(sender, limit=10, parallel=4)
    await asyncio.gather(*(coalescer.submit(number) for number in range(35)))

    assert [10, 10, 10, 5] == [len(batch) for batch in sender.batches]


async def test_items_that_wait_for_a_slot_are_sent_together() -> None:
    """While a request is in progress, later callers form one batch."""
    sender = Sender()
    sender.gate.clear()
    coalescer = over(sender)
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
    coalescer = over(sender, keys=lambda number: Keys(number % 10, None))
    await asyncio.gather(*(coalescer.submit(number) for number in (1, 2, 11, 21, 3)))

    assert [[1, 2, 3], [11], [21]] == sender.batches


async def test_one_bad_item_fails_alone() -> None:
    """An error for one item reaches its caller only."""
    coalescer = over(Sender())
    good, bad = await asyncio.gather(coalescer.submit(1), coalescer.submit(-1), return_exceptions=True)

    assert 2 == good
    assert isinstance(bad, ValueError)


async def test_a_failed_request_raises_a_separate_error_for_each_caller() -> None:
    """Callers do not share one exception object, whose traceback would grow with each of them."""

    async def fail(_: Sequence[int]) -> list[int | Exception]:
        raise ConnectionError("the line is dead")

    coalescer = over(fail)
    errors = await asyncio.gather(*(coalescer.submit(number) for number in range(5)), return_exceptions=True)

    assert ["the line is dead"] * 5 == [str(error) for error in errors]
    assert 5 == len({id(error) for error in errors})


async def test_the_item_of_a_cancelled_caller_is_not_sent() -> None:
    """The other callers get their results."""
    sender = Sender()
    coalescer = over(sender)
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
    coalescer = over(sender, limit=1)
    waiting = [asyncio.create_task(coalescer.submit(number)) for number in range(3)]
    await sender.begun.wait()
    await coalescer.close()

    for task in waiting:
        with pytest.raises(asyncio.CancelledError):
            await task


async def _arrive(coalescer: Coalescer[int, int], *, rate: float, count: int, seed: int | None = None) -> float:
    """Let callers come at a rate a second, evenly or at random; return the mean of their waiting times, in seconds."""
    now, random = asyncio.get_running_loop().time, Random(seed)  # noqa: S311 - no secret
    waits: list[float] = []

    async def call(number: int, at: float) -> None:
        await asyncio.sleep(at)
        began = now()
        await coalescer.submit(number)
        waits.append(now() - began)

    at, calls = 0.0, []
    for number in range(count):
        calls.append(call(number, at))
        at += 1 / rate if seed is None else random.expovariate(rate)
    await asyncio.gather(*calls)
    return mean(waits)


@pytest.mark.parametrize(
    ("rate", "count", "calls", "wait"),
    [
        (0.5, 200, 1.0, 0.01),  # a trickle
        (1.0, 300, 1.0, 0.02),
        (5.0, 500, 0.1, 1.4),
        (12.5, 250, 0.06, 1.4),  # 1,000 records at 50 a second in four processes
        (40.0, 1_000, 0.017, 1.4),
        (40.0, 10_000, 0.0115, 1.4),
        (200.0, 1_000, 0.013, 0.4),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_calls_follow_the_flow(rate: float, count: int, calls: float, wait: float, seed: int) -> None:
    """At most so many calls for each caller, and so many seconds of waiting, on average, at so many callers a second.

    A call to read and one to update are twice that for each order: docs/configure/processes.md shows the figures.
    """

    async def measure() -> tuple[int, float]:
        sender = Sender()
        waited = await _arrive(over(sender), rate=rate, count=count, seed=seed)
        assert count == sum(map(len, sender.batches))
        return len(sender.batches), waited

    sent, waited = virtual_time.run(measure())
    assert sent <= calls * count, sent / count
    assert waited <= wait


def test_a_trickle_is_not_delayed() -> None:
    """A caller every two seconds leaves at once, also after a burst, when the window has fallen back."""

    async def follow() -> float:
        sender = Sender()
        coalescer = over(sender)
        await _arrive(coalescer, rate=0.5, count=20)
        assert [float(2 * number) for number in range(20)] == sender.left_at
        await _arrive(coalescer, rate=100.0, count=500)
        await _arrive(coalescer, rate=0.5, count=10)
        await asyncio.sleep(2)
        return await _arrive(coalescer, rate=0.5, count=10)

    assert 0.0 == virtual_time.run(follow())


def test_a_full_batch_leaves_at_once() -> None:
    """In the middle of a window; the rest waits for its end."""

    async def burst() -> Sender:
        sender = Sender()
        coalescer = over(sender, limit=10)
        await _arrive(coalescer, rate=1_000.0, count=25)
        return sender

    sender = virtual_time.run(burst())
    assert [([0], 0.0), ([*range(1, 11)], 0.01), ([*range(11, 21)], 0.02), ([21, 22, 23, 24], 0.12)] == list(
        zip(sender.batches, sender.left_at, strict=True)
    )


def test_a_slow_batch_holds_only_what_is_related_to_it() -> None:
    """Items of the same parent wait for it, across coalescers; all others leave, though they came later."""

    async def storm() -> list[list[int]]:
        sender, in_flight = Sender(), InFlight()
        sender.gate.clear()
        one, other = (
            over(sender, parallel=2, keys=lambda item: Keys(item, f"parent {item % 10}"), in_flight=in_flight)
            for _ in range(2)
        )
        calls = [asyncio.create_task(one.submit(1))]
        await asyncio.sleep(1)
        calls += [asyncio.create_task(each.submit(item)) for each, item in ((one, 11), (one, 2), (other, 21))]
        await asyncio.sleep(1)
        calls += [asyncio.create_task(each.submit(item)) for each, item in ((one, 31), (other, 3))]
        await asyncio.sleep(1)
        assert [[1], [2], [3]] == sender.batches
        sender.gate.set()
        assert [2, 22, 4, 42, 62, 6] == await asyncio.gather(*calls)
        return sender.batches

    batches = virtual_time.run(storm())
    assert 5 == len(batches)
    assert [[11, 31], [21]] == sorted(map(sorted, batches[3:]))


def test_two_items_of_one_record_keep_their_order_across_batches() -> None:
    """The second one waits for the answer to the first one, however many batches may be in flight."""

    async def follow() -> None:
        sender = Sender()
        sender.gate.clear()
        coalescer = over(sender, limit=1, parallel=4, keys=lambda item: Keys(item % 10, item))
        calls = [asyncio.create_task(coalescer.submit(item)) for item in (1, 11, 2, 21)]
        await asyncio.sleep(10)
        assert [[1], [2]] == sender.batches
        sender.gate.set()
        await asyncio.gather(*calls)
        assert [[1], [2], [11], [21]] == sender.batches

    virtual_time.run(follow())


def test_an_item_that_waits_for_another_request_is_not_sent_when_its_caller_is_cancelled() -> None:
    """Nor does it block those that come after it."""

    async def cancel() -> list[list[int]]:
        sender = Sender()
        sender.gate.clear()
        coalescer = over(sender, parallel=2, keys=lambda item: Keys(item % 10, None if item > 100 else item % 10))
        first = asyncio.create_task(coalescer.submit(1))
        await asyncio.sleep(1)
        second = asyncio.create_task(coalescer.submit(11))
        await asyncio.sleep(1)
        second.cancel()
        await asyncio.sleep(1)
        sender.gate.set()
        assert 2 == await first
        assert 42 == await coalescer.submit(21)
        return sender.batches

    assert [[1], [21]] == virtual_time.run(cancel())


def test_closing_at_any_moment_leaves_no_caller_behind() -> None:
    """Also when a batch was taken and its request has not begun."""

    async def close(ticks: int) -> None:
        sender = Sender()
        sender.gate.clear()
        coalescer = over(sender, limit=2, parallel=2)
        callers = [asyncio.create_task(coalescer.submit(number)) for number in range(7)]
        for _ in range(ticks):
            await asyncio.sleep(0)
        await coalescer.close()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes

    for ticks in range(1, 12):
        virtual_time.run(close(ticks))
