"""What a batch fails with need not be the failure of each item: it is split."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

import pytest

from closedwon.salesforce.api.coalesce import Coalescer, InFlight, Keys
from closedwon.salesforce.api.window import Pace, Window

AT_ONCE = Pace(first=0.0, longest=0.0)


class TogetherError(Exception):
    """An error that may come of what the items are together."""


class OutageError(TogetherError):
    """An error that may come of an outage as well."""


class AloneError(Exception):
    """An error of one item."""


Outcome = Callable[[Sequence[int], int], Exception | None]
"""The error of an item of a batch."""


class Sender:
    """Sends batches, and keeps their items."""

    def __init__(self, outcome: Outcome, *, limit: int = 200, pace: Pace = AT_ONCE, parallel: int = 1) -> None:
        self.batches: list[list[int]] = []
        self.begun = asyncio.Event()
        self._outcome = outcome
        self.coalescer = Coalescer(
            self._send,
            limit=limit,
            parallel=parallel,
            window=Window(lambda: pace),
            keys=lambda item: Keys(own=item % 1000, shared=("item", item % 1000)),
            in_flight=InFlight(),
            splits=(TogetherError,),
            outages=(OutageError,),
        )

    async def _send(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(list(items))
        self.begun.set()
        await asyncio.sleep(0)
        return [self._outcome(items, item) or item for item in items]

    async def submit(self, items: Sequence[int]) -> list[int | BaseException]:
        """Submit all items at once."""
        return await asyncio.gather(*map(self.coalescer.submit, items), return_exceptions=True)

    @property
    def sizes(self) -> list[int]:
        """How many items each batch had."""
        return [len(batch) for batch in self.batches]


def above(most: int) -> Outcome:
    """Every item of a batch with more than `most` fails."""
    return lambda items, _: TogetherError() if len(items) > most else None


async def test_p1_a_batch_that_fails_is_sent_in_quarters() -> None:
    """Until each item has its answer; the caller sees nothing of it."""
    sender = Sender(above(12))

    assert list(range(100)) == await sender.submit(range(100))
    assert [100, 25, 7] == sender.sizes[:3]
    assert 100 == sum(size for size in sender.sizes if size <= 12)


async def test_p1_later_batches_are_as_small_from_the_start_and_grow_again() -> None:
    """By a quarter with each full batch that succeeds, up to the limit."""
    most = 12
    sender = Sender(lambda items, _: TogetherError() if len(items) > most else None)
    await sender.submit(range(100))
    first = len(sender.sizes)
    most = 200
    await sender.submit(range(100, 2000))
    later = sender.sizes[first:]

    assert 12 >= later[0]
    assert all(after <= before + max(1, before // 4) for before, after in itertools.pairwise(later))
    assert 200 == max(later)


async def test_p1_an_item_that_fails_alone_keeps_no_other() -> None:
    """Of 200 items, one fails in every batch: all others have their answer after the first one."""
    sender = Sender(lambda _, item: TogetherError() if item == 77 else None)
    outcomes = await sender.submit(range(200))

    assert [77] == [item for item, outcome in enumerate(outcomes) if isinstance(outcome, TogetherError)]
    assert [200, 1] == sender.sizes
    assert [200, 1, 200] == [*sender.sizes, *((await sender.submit(range(200, 400))) and sender.sizes[2:])]


async def test_p1_if_all_fail_alone_each_costs_little_more_than_a_call() -> None:
    """4/3 calls an item, once; the next ones are sent alone from the start."""
    sender = Sender(above(0))
    outcomes = await sender.submit(range(200))

    assert all(isinstance(outcome, TogetherError) for outcome in outcomes)
    assert 200 <= len(sender.sizes) <= 200 * 4 / 3 + 5
    await sender.submit(range(200, 210))
    assert [1] * 10 == sender.sizes[-10:]


async def test_an_outage_is_not_split_for_each_item() -> None:
    """A server error that one item may cause is looked for; one that all batches get costs a few calls only."""
    is_down = True
    sender = Sender(lambda _, item: OutageError() if is_down or item == 77 else None)
    outcomes = await sender.submit(range(200))
    assert all(isinstance(outcome, OutageError) for outcome in outcomes)
    assert 20 > len(sender.sizes)

    is_down = False
    outcomes = await sender.submit(range(200))
    assert [77] == [item for item, outcome in enumerate(outcomes) if isinstance(outcome, OutageError)]


async def test_other_errors_are_those_of_their_items() -> None:
    """They are reported at once, each to its caller."""
    sender = Sender(lambda _, item: AloneError() if item % 2 else None)
    outcomes = await sender.submit(range(10))

    assert [10] == sender.sizes
    assert [item % 2 == 1 for item in range(10)] == [isinstance(outcome, AloneError) for outcome in outcomes]


async def test_an_error_of_the_whole_call_is_split_as_well() -> None:
    """The request itself is refused while one item is in it."""

    async def send(items: Sequence[int]) -> Sequence[int]:
        batches.append(len(items))
        if 3 in items:
            raise TogetherError
        return items

    batches: list[int] = []
    coalescer = Coalescer(send, limit=16, parallel=1, window=Window(lambda: AT_ONCE), splits=(TogetherError,))
    outcomes = await asyncio.gather(*map(coalescer.submit, range(16)), return_exceptions=True)

    assert [3] == [item for item, outcome in enumerate(outcomes) if isinstance(outcome, TogetherError)]
    assert [16, 4, 1, 1, 1, 1] == batches[:6]


async def test_an_item_that_is_sent_again_stays_before_a_later_one_like_it() -> None:
    """Two items with one key keep their order, although the first one is split."""
    sender = Sender(above(2))
    await asyncio.gather(sender.submit(range(8)), sender.submit([1003]))
    order = [item for batch in sender.batches if len(batch) <= 2 for item in batch]

    assert order.index(3) < order.index(1003)


async def test_a_caller_that_gives_up_is_not_sent_again() -> None:
    """It is cancelled while its batch is under way; the batch fails."""
    sender = Sender(above(1))
    gone = asyncio.create_task(sender.coalescer.submit(5))
    rest = asyncio.create_task(sender.submit(range(3)))
    await sender.begun.wait()
    gone.cancel()
    assert [0, 1, 2] == await rest

    assert [1, 1, 1] == sender.sizes[-3:]
    assert 1 == sum(5 in batch for batch in sender.batches)


@pytest.mark.parametrize(("longest", "waits"), [(2.0, False), (60.0, True)])
async def test_what_is_sent_again_waits_only_if_the_org_lacks_calls(longest: float, *, waits: bool) -> None:
    """The window is the time between two calls; above the usual one, calls are few."""
    sender = Sender(above(1), pace=Pace(first=longest, longest=longest))
    task = asyncio.create_task(sender.submit(range(4)))
    with_all = 5
    for _ in range(200):
        await asyncio.sleep(0)

    assert (len(sender.sizes) < with_all) is waits
    task.cancel()
    await sender.coalescer.close()
