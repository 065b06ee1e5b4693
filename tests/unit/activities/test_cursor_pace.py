"""When a reader sends its cursor: each heartbeat is a billed action, and one that is late costs it its activity."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from activities.subscription import CursorPace
from closedwon.model.subscriptions import Cursor
from closedwon.settings import Subscriber
from workflows.subscription import _RETRY

_DAY = 86_400.0
_LOOK = 3.0
"""Seconds: the longest time between two looks at the cursor (`activities.heartbeats`)."""
_TIMEOUT = Subscriber().heartbeat_timeout


class _Reader:
    """A reader on a clock of its own, which heartbeats as `Heartbeat` does; `sent` has the time of each heartbeat."""

    def __init__(self, timeout: timedelta = _TIMEOUT) -> None:
        self.now = 0.0
        self.cursor = Cursor()
        self.sent: list[float] = []
        self._look = min(_LOOK, timeout.total_seconds() / 3)
        self._pace = CursorPace(timeout, clock=lambda: self.now)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            wait = self._pace.due_in(self.cursor)
            if wait <= 0:
                self.sent.append(self.now)
            self.now += min(wait or self._look, self._look)

    def move(self) -> None:
        self.cursor = Cursor(replay_id=str(self.cursor.count + 1), count=self.cursor.count + 1)

    @property
    def silence(self) -> float:
        return max(later - earlier for earlier, later in zip(self.sent, self.sent[1:], strict=False))


def test_an_idle_reader_costs_at_most_4400_actions_a_day() -> None:
    """Every heartbeat, and each hand-over: an activity and its first heartbeat."""
    reader, hours = _Reader(), _DAY / Subscriber().handover.total_seconds()
    reader.run(_DAY)
    assert 4_400 >= len(reader.sent) + 2 * hours
    assert 20 == reader.silence


def test_a_cursor_that_moves_is_sent_at_the_next_look() -> None:
    """What a crash makes the next reader read again is a few seconds of events."""
    reader = _Reader()
    for _ in range(20):
        reader.run(_LOOK)
        reader.move()
    assert [_LOOK * place for place in range(20)] == reader.sent


def test_an_empty_answer_of_the_bus_is_not_a_move() -> None:
    """It changes `caught_up_at`, every 110 seconds in Salesforce and more often elsewhere."""
    reader = _Reader()
    for answer in range(40):
        reader.cursor = Cursor(caught_up_at=datetime(2026, 11, 3, tzinfo=UTC) + timedelta(seconds=answer))
        reader.run(_LOOK)
    assert 20 <= reader.silence


@pytest.mark.parametrize("seconds", [1, 3, 5, 10, 10.5, 21, 27, 30, 60, 3600])
def test_a_live_reader_is_never_silent_for_nearly_its_timeout(seconds: float) -> None:
    """A slow server must not give a live reader's activity to another one."""
    reader = _Reader(timedelta(seconds=seconds))
    reader.run(10 * seconds + 100)
    assert min(20, max(seconds - 7, seconds / 3)) == pytest.approx(reader.silence, abs=0.001)


def test_the_next_attempt_takes_over_within_30_seconds() -> None:
    """From the crash: the timeout, the retry policy's maximum interval, and a second to connect."""
    pause = _RETRY.maximum_interval
    assert pause is not None
    assert timedelta(seconds=30) >= _TIMEOUT + pause + timedelta(seconds=1)
