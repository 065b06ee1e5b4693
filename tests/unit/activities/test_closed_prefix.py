"""The cursor's rule: it moves over a closed prefix only."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.subscription import ClosedPrefix
from closedwon.model.subscriptions import Cursor
from closedwon.salesforce.bus.events import Event


def _event(number: int) -> Event:
    return Event(channel="/event/Order_Requested__e", replay_id=str(number), raw={})


@given(order=st.permutations(range(8)))
def test_the_cursor_never_passes_an_event_that_is_not_durable(order: list[int]) -> None:
    """Whatever the order in which starts finish, everything up to the cursor has finished."""
    loop = asyncio.new_event_loop()
    try:
        prefix = ClosedPrefix(Cursor())
        starts = [loop.create_future() for _ in order]
        for number, start in enumerate(starts):
            prefix.add(_event(number), start)
        finished: set[int] = set()
        for number in order:
            starts[number].set_result(None)
            finished.add(number)
            closed = next((n for n in range(len(order)) if n not in finished), len(order))
            assert closed == prefix.advance().count
            assert (str(closed - 1) if closed else None) == prefix.cursor.replay_id
    finally:
        loop.close()


def test_a_failed_start_stops_the_cursor_and_is_raised() -> None:
    """Nothing moves past an event that Temporal did not take, and the failure is not swallowed."""
    loop = asyncio.new_event_loop()
    try:
        prefix = ClosedPrefix(Cursor())
        first, second, third = (loop.create_future() for _ in range(3))
        for number, start in enumerate((first, second, third)):
            prefix.add(_event(number), start)
        first.set_result(None)
        third.set_result(None)
        second.set_exception(ConnectionError("Temporal is away"))

        with pytest.raises(ConnectionError):
            prefix.advance()

        assert "0" == prefix.cursor.replay_id
    finally:
        loop.close()


def test_an_event_without_a_position_is_counted_and_the_position_stays() -> None:
    """A malformed event that has no replay id does not make the reader lose its place."""
    loop = asyncio.new_event_loop()
    try:
        prefix = ClosedPrefix(Cursor(replay_id="7", count=7))
        start = loop.create_future()
        start.set_result(None)
        prefix.add(Event(channel="/event/X__e", replay_id=None, raw={}), start)

        assert Cursor(replay_id="7", count=8) == prefix.advance()
    finally:
        loop.close()
