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


def _message(
    name: str, minute: int, *, modified: int | None = None, payload: int | None = None, deleted: bool = False
) -> Message:
    """A notification that arrived at `minute`."""
    return Message(
        id=name,
        channel=Channel.CALLOUT,
        received_at=_at(minute),
        modified_at=None if modified is None else _at(modified),
        payload=None if payload is None else {"minute": payload},
        deleted=deleted,
    )


def _newest(notifications: Notifications) -> int | None:
    newest = notifications.newest
    return None if newest is None or newest.payload is None else int(newest.payload["minute"])


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([(1, 5), (1, None)], 5),
        ([(1, None), (1, 5)], 5),
        ([(5, 5), (None, 1)], 1),
        ([(None, 5), (1, 1)], 1),
        ([(5, 5), (None, None)], 5),
        ([(None, None), (5, 5)], 5),
        ([(5, 5), (5, 6)], 6),
        ([(5, 5), (4, 6)], 5),
        ([(5, 5), (6, None)], 5),
        ([(5, 5), (None, None), (4, 4)], 5),
        ([(5, 5), (None, 6), (4, 4)], 4),
        ([(None, None), (None, None)], None),
    ],
)
def test_t5_mixtures_of_messages_with_and_without_time_and_payload(
    messages: list[tuple[int | None, int | None]], expected: int | None
) -> None:
    """Each is (modified, payload): without a payload it never replaces one, without a time it counts as it arrives."""
    notifications = Notifications()
    for number, (modified, payload) in enumerate(messages):
        notifications.news = False
        notifications.take(_message(f"m-{number}", 10 + number, modified=modified, payload=payload))
        assert notifications.news
    assert expected == _newest(notifications)
    assert not notifications.deleted


@pytest.mark.parametrize(
    ("late", "is_news"),
    [
        (_message("again", 61, modified=30, payload=30), False),
        (_message("older", 61, modified=29, payload=29), False),
        (_message("newer", 61, modified=31, payload=31), True),
        (_message("newer without content", 61, modified=31), True),
        (_message("no time, arrived before", 30, payload=5), False),
        (_message("no time, arrived after", 31, payload=5), True),
        (_message("first", 61, modified=31, payload=31), False),
        (_message("deleted", 61, modified=31, deleted=True), True),
        (_message("first", 61, modified=31, deleted=True), False),
    ],
    ids=lambda value: value.id if isinstance(value, Message) else "",
)
@pytest.mark.parametrize("timed", [True, False])
def test_t1_what_happened_before_a_decision_is_no_news(late: Message, *, is_news: bool, timed: bool) -> None:
    """A cancelled deal is not ordered again by an older event with another id, nor by the same one again."""
    notifications = Notifications()
    notifications.take(_message("first", 30, modified=30 if timed else None, payload=30))
    notifications.news = False
    notifications.settle(_at(60))
    assert _at(30) == notifications.decided_at
    notifications.take(late)
    assert is_news is notifications.news
    assert (late.deleted and is_news) is notifications.deleted
    assert {"first", late.id} == notifications.heard


def test_t1_a_decision_about_a_record_that_was_only_named_counts_from_now() -> None:
    """Where nothing was kept, everything up to the decision is over; what happens later is news."""
    notifications = Notifications()
    notifications.take(_message("first", 30))
    notifications.news = False
    notifications.settle(_at(60))
    for late, is_news in (
        (_message("a", 60), False),
        (_message("b", 70, modified=60), False),
        (_message("c", 61), True),
    ):
        notifications.take(late)
        assert is_news is notifications.news


@pytest.mark.parametrize(
    ("message", "deleted", "news"),
    [
        (_message("without content", 40, modified=40), True, False),
        (_message("older", 40, modified=19, payload=1), True, False),
        (_message("same time", 40, modified=20, payload=1), True, False),
        (_message("no time", 40, payload=1), True, False),
        (_message("restored", 40, modified=21, payload=1), False, True),
        (_message("deleted again", 40, modified=19, deleted=True), True, False),
        (_message("deleted later", 40, modified=21, deleted=True), True, False),
        (_message("tombstone", 40, modified=21, deleted=True), True, False),
    ],
    ids=lambda value: value.id if isinstance(value, Message) else "",
)
@pytest.mark.parametrize("timed", [True, False])
def test_after_a_deletion_was_dealt_with_only_a_later_state_is_news(
    message: Message, *, deleted: bool, news: bool, timed: bool
) -> None:
    """The order is cancelled; whatever comes of the time before must not order again."""
    notifications = Notifications()
    notifications.take(_message("tombstone", 20, modified=20 if timed else None, deleted=True))
    notifications.news = False
    notifications.settle(_at(35))
    notifications.take(message)
    assert (deleted, news) == (notifications.deleted, notifications.news)


def test_a_duplicate_deletes_nothing_and_an_older_tombstone_neither() -> None:
    """A tombstone counts once, and only if nothing newer is known."""
    notifications = Notifications()
    notifications.take(_message("gone", 10, modified=10, deleted=True))
    notifications.take(_message("back", 30, modified=30, payload=30))
    for name, modified in (("gone", 40), ("older", 29)):
        notifications.take(_message(name, 40, modified=modified, deleted=True))
        assert (False, 30) == (notifications.deleted, _newest(notifications))
    notifications.take(_message("older with content", 40, modified=29, payload=29, deleted=True))
    notifications.take(_message("gone", 40, modified=40, payload=40, deleted=True))
    assert (False, 30) == (notifications.deleted, _newest(notifications))
    notifications.take(_message("same time", 40, modified=30, deleted=True))
    assert notifications.deleted


def test_the_first_notification_begins_the_way_of_a_deal() -> None:
    """An older one that comes later does not change it."""
    notifications = Notifications()
    notifications.take(_message("a", 60, modified=20))
    notifications.take(_message("b", 61, modified=10))
    assert _at(20) == notifications.since


def test_t5_a_new_run_knows_what_was_carried_but_not_the_ids() -> None:
    """A duplicate costs one more reading there; a late one is still late."""
    notifications = Notifications()
    notifications.take(_message("first", 30, modified=30, payload=30))
    notifications.settle(_at(60))
    again = Notifications.model_validate_json(notifications.model_dump_json())
    assert (set(), 30, False, _at(30)) == (again.heard, _newest(again), again.deleted, again.decided_at)
    again.news = False
    again.take(_message("first", 61, modified=30, payload=30))
    assert not again.news
