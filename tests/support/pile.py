"""Orders that have piled up while the ERP was away, on a real Temporal server and without waiting for hours.

What is scaled: after an outage of 30 hours every order has failed some 130 times and waits for its next attempt, up to
a quarter of an hour away. Attempts leave nothing behind but their number, so an order that has failed once and waits
for long is in the same state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from temporalio.service import RPCError

from closedwon.ids import RecordId
from closedwon.settings import Retry
from tests.support.handoff import Handoff, until

INTERVAL = timedelta(days=1)
"""Far beyond the time of any test: an order that waited for its next attempt would not be done."""


def with_long_intervals(world: Handoff) -> Handoff:
    """Let the first retry wait as long as the last one of a long outage does. For a world that does not work yet."""
    world.settings = world.settings.model_copy(
        update={"retry": Retry(initial_interval=INTERVAL, maximum_interval=INTERVAL)}
    )
    return world


async def pile_up(world: Handoff, orders: int) -> list[RecordId]:
    """Win deals while the ERP is down; returns when it has failed each of them and is up again."""
    world.erp.faults.down = True
    won = world.org.win_next(orders)
    await until_failed(world, won)
    world.erp.faults.down = False
    return won


async def until_failed(world: Handoff, won: Sequence[RecordId]) -> None:
    """Wait until each order has failed once, and waits for its next attempt."""
    await _all(won, lambda record: _has_failed(world, record))


async def until_drained(world: Handoff, won: Sequence[RecordId]) -> None:
    """Wait until Salesforce knows each number."""

    async def has_number(record: RecordId) -> bool:
        return world.number_of(record) is not None

    await _all(won, has_number)


async def _all(records: Sequence[RecordId], condition: Callable[[RecordId], Awaitable[bool]]) -> None:
    """Wait until the condition holds for each; none is asked about again after that, so it suits thousands."""
    left = list(records)

    async def are_done() -> bool:
        while left and await condition(left[-1]):
            left.pop()
        return not left

    await until(are_done, progress=lambda: len(left))


async def _has_failed(world: Handoff, record: RecordId) -> bool:
    try:
        described = await world.order(record).describe()
    except RPCError:  # not started yet
        return False
    return any(pending.HasField("last_failure") for pending in described.raw_description.pending_activities)
