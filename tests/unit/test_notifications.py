"""Messages of one record in any order: which of them count, with orders that are made of messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from closedwon.model import Channel, Message
from closedwon.notifications import Notifications

_NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def _at(minute: int) -> datetime:
    return _NOON + timedelta(minutes=minute)


def _event(minute: int) -> Message:
    return Message(
        id=f"e-{minute}",
        channel=Channel.PLATFORM_EVENT,
        received_at=_at(60),
        payload={"minute": minute},
        modified_at=_at(minute),
    )


def _tombstone(minute: int, *, modified: bool = True) -> Message:
    return Message(
        id=f"t-{minute}",
        channel=Channel.OUTBOUND_MESSAGE,
        received_at=_at(minute),
        modified_at=_at(minute) if modified else None,
        deleted=True,
    )


@pytest.mark.parametrize(
    ("messages", "deleted", "payload"),
    [
        ([_event(1), _event(2)], False, 2),
        ([_event(2), _event(1)], False, 2),
        ([_event(1), _tombstone(2)], True, None),
        ([_tombstone(2), _event(1)], True, None),
        ([_tombstone(2), _event(3)], False, 3),
        ([_event(3), _tombstone(2)], False, 3),
        ([_tombstone(2, modified=False), _event(1)], True, None),
        ([_tombstone(2, modified=False), _event(3)], False, 3),
        ([_tombstone(2, modified=False), _event(3), _tombstone(2, modified=False)], False, 3),
        ([_tombstone(2), _event(3), _tombstone(4)], True, None),
    ],
)
@pytest.mark.parametrize("is_given_up", [False, True])
def test_a_deletion_stands_until_there_is_notifications_of_what_came_after_it(
    messages: list[Message], *, deleted: bool, payload: int | None, is_given_up: bool
) -> None:
    """A record may be taken out of the recycle bin; a late message from before its deletion does not do that."""
    notifications = Notifications()
    for message in messages:
        notifications.take(message)
        if is_given_up and notifications.deleted:
            notifications.settle(_at(60))

    assert notifications.newest is not None
    assert (deleted, payload) == (notifications.deleted, (notifications.newest.payload or {}).get("minute"))


def test_a_record_that_is_read_is_not_deleted() -> None:
    """Whoever looks at records need not believe a tombstone; but one that came during the look still counts."""
    notifications, first, second = Notifications(), _tombstone(1), _tombstone(3)
    notifications.take(first)
    notifications.is_readable(first)
    lives = not notifications.deleted
    notifications.take(second)
    notifications.is_readable(first)

    assert lives
    assert notifications.deleted


@pytest.mark.parametrize(("modified", "since"), [(20, 20), (None, 60), (61, 60)])
def test_the_way_of_a_deal_is_measured_from_what_happened(modified: int | None, since: int) -> None:
    """Word that came late, by a sweep or sent again, makes no deal quick; a clock that is ahead makes none negative."""
    notifications = Notifications()
    modified_at = None if modified is None else _at(modified)
    notifications.take(Message(id="m", channel=Channel.SWEEP, received_at=_at(60), modified_at=modified_at))

    assert notifications.since == _at(since)
