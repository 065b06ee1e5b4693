"""Times in notifications: which are read, and which are accepted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from closedwon.salesforce.bus.events import SKEW, believable

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("modified_at", "is_believed"),
    [
        (NOW, True),
        (NOW - _TICK, True),
        (NOW - timedelta(days=3650), True),
        (NOW + _TICK, True),
        (NOW + SKEW, True),
        (NOW + SKEW + _TICK, False),
        (NOW + timedelta(hours=1), False),
        (datetime(2099, 1, 1, tzinfo=UTC), False),
        (datetime.max.replace(tzinfo=UTC), False),
        ((NOW + timedelta(hours=9)).replace(tzinfo=timezone(timedelta(hours=9))), True),
        ((NOW + timedelta(hours=9)).replace(tzinfo=timezone(timedelta(hours=3))), False),
    ],
)
def test_a_time_in_the_future_is_not_accepted(modified_at: datetime, is_believed: bool) -> None:  # noqa: FBT001
    """Another clock may be five minutes ahead; with a later time, the notification counts as one without a time."""
    assert (modified_at if is_believed else None) == believable(modified_at, NOW)


def test_a_missing_time_stays_missing() -> None:
    """No time is substituted."""
    assert believable(None, NOW) is None


def test_the_permitted_clock_difference_can_be_set() -> None:
    """The default is five minutes, as for signatures."""
    assert timedelta(minutes=5) == SKEW
    ahead = NOW + timedelta(seconds=2)
    assert ahead == believable(ahead, NOW, skew=timedelta(seconds=2))
    assert believable(ahead, NOW, skew=timedelta(seconds=1)) is None
