"""Messages of one record in any order: which of them count, with orders that are made of messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from closedwon.model.messages import Message
from closedwon.model.notifications import Notifications
from closedwon.model.routes import Channel

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
@pytest.mark.parametrize("is_decided", [False, True])
def test_a_deletion_stands_until_there_is_notifications_of_what_came_after_it(
    messages: list[Message], *, deleted: bool, payload: int | None, is_decided: bool
) -> None:
    """A record may be taken out of the recycle bin; a late message from before its deletion does not do that."""
    notifications = Notifications()
    for message in messages:
        notifications.take(message)
        if is_decided and notifications.deleted:
            notifications.mark_done(_at(60))

    assert notifications.newest is not None
    assert (deleted, payload) == (notifications.deleted, (notifications.newest.payload or {}).get("minute"))


def test_a_record_that_is_read_is_not_deleted() -> None:
    """A record that was read disproves an earlier tombstone; one that arrived while it was being read still counts."""
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
        (_message("first", 61, modified=30, payload=30), False),
        (_message("first", 61, payload=31), False),
        (_message("first", 61, modified=31, payload=31), True),
        (_message("deleted", 61, modified=31, deleted=True), True),
        (_message("first", 61, modified=31, deleted=True), False),
    ],
    ids=lambda value: value.id if isinstance(value, Message) else "",
)
@pytest.mark.parametrize("timed", [True, False])
def test_t1_what_happened_before_a_decision_is_not_news(late: Message, *, is_news: bool, timed: bool) -> None:
    """A cancelled deal is not ordered again by an older event with another id, nor by the same one again."""
    notifications = Notifications()
    notifications.take(_message("first", 30, modified=30 if timed else None, payload=30))
    notifications.news = False
    notifications.mark_done(_at(60))
    assert _at(30) == notifications.decided_at
    notifications.take(late)
    assert is_news is notifications.news
    assert (late.deleted and is_news) is notifications.deleted
    assert list(dict.fromkeys(("first", late.id))) == list(notifications.known_ids)


def test_t1_a_decision_about_a_record_that_was_only_named_counts_from_now() -> None:
    """Where nothing was kept, everything up to the decision is over; what happens later is news."""
    notifications = Notifications()
    notifications.take(_message("first", 30))
    notifications.news = False
    notifications.mark_done(_at(60))
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
    notifications.mark_done(_at(35))
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


def test_t5_a_new_run_knows_what_was_carried() -> None:
    """The ids, too; a late notification is still late."""
    notifications = Notifications()
    notifications.take(_message("first", 30, modified=30, payload=30))
    notifications.mark_done(_at(60))
    again = Notifications.model_validate_json(notifications.model_dump_json())
    assert (["first"], 30, False, _at(30)) == (list(again.known_ids), _newest(again), again.deleted, again.decided_at)
    again.news = False
    again.take(_message("first", 61, modified=30, payload=30))
    assert not again.news


def test_a_new_run_knows_a_duplicate_that_says_no_time() -> None:
    """It is taken in the order of arrival, so as news it would replace what is newer."""
    first, second = (
        Message(id=name, channel=Channel.CALLOUT, received_at=_at(0), payload={"minute": minute})
        for minute, name in enumerate(("first", "second"))
    )
    notifications = Notifications()
    notifications.take(first)
    notifications.take(second)
    again = Notifications.model_validate_json(notifications.model_dump_json())
    again.take(first)
    assert again.newest == second


def test_the_ids_that_are_known_are_bounded() -> None:
    """They are carried into each new run; the oldest are forgotten first."""
    notifications = Notifications()
    for minute in range(300):
        notifications.take(_event(minute))
    assert [f"e-{minute}" for minute in range(44, 300)] == list(notifications.known_ids)


@pytest.mark.parametrize(("name", "modified", "expected"), [("first", 35, 2), ("first", 30, 1), ("first", 29, 1)])
def test_a_notification_that_is_sent_again_with_newer_content_counts(name: str, modified: int, expected: int) -> None:
    """Salesforce sends the fields as they are by then, under the same id."""
    notifications = Notifications()
    notifications.take(_message("first", 30, modified=30, payload=1))
    notifications.take(_message(name, 40, modified=modified, payload=2))
    assert expected == _newest(notifications)


@pytest.mark.parametrize(
    ("messages", "newest", "rival"),
    [
        ([(5, 1), (5, 2)], 2, 1),
        ([(5, 1), (5, 2), (5, 1)], 2, 1),
        ([(5, 1), (5, 2), (5, 2)], 2, 1),
        ([(5, 1), (5, 2), (5, 3)], 3, 2),
        ([(5, 1), (5, 2), (6, 3)], 3, None),
        ([(5, 1), (5, 2), (4, 3)], 2, 1),
        ([(5, 1), (5, 1)], 1, None),
        ([(5, 1), (6, 2)], 2, None),
        ([(None, 1), (None, 2)], 2, None),
        ([(5, 1), (None, 2)], 2, None),
    ],
)
def test_two_that_say_different_things_of_one_second_contradict_each_other(
    messages: list[tuple[int | None, int]], newest: int, rival: int | None
) -> None:
    """SystemModstamp has no fractions, and Salesforce keeps no order. What repeats one of them adds nothing."""
    notifications = Notifications()
    for number, (modified, payload) in enumerate(messages):
        notifications.take(_message(f"m-{number}", 10 + number, modified=modified, payload=payload))
    found = notifications.rival
    assert (newest, rival) == (_newest(notifications), None if found is None else (found.payload or {})["minute"])


def test_a_deletion_ends_a_contradiction() -> None:
    """Nothing is changed in a record after its deletion."""
    notifications = Notifications()
    for number in (1, 2):
        notifications.take(_message(f"m-{number}", 10, modified=5, payload=number))
    notifications.take(_message("gone", 10, modified=5, deleted=True))
    assert (True, None) == (notifications.deleted, notifications.rival)


@pytest.mark.parametrize(("payload", "is_news"), [(2, True), (1, False), (None, False)])
def test_another_one_of_the_second_that_was_settled_is_news(payload: int | None, *, is_news: bool) -> None:
    """A deal may be won in the second in which it was made."""
    notifications = Notifications()
    notifications.take(_message("first", 40, modified=30, payload=1))
    notifications.news = False
    notifications.mark_done(_at(60))
    notifications.take(_message("second", 61, modified=30, payload=payload))
    assert is_news is notifications.news


def test_what_an_operator_has_decided_covers_the_same_second() -> None:
    """A person knew what was known until then."""
    notifications = Notifications()
    notifications.take(_message("first", 40, modified=30, payload=1))
    notifications.news, notifications.decided_at = False, _at(50)
    notifications.take(_message("second", 61, modified=50, payload=2))
    assert not notifications.news


def test_a_notification_without_content_replaces_none() -> None:
    """An empty one names the record, and says nothing of it."""
    notifications = Notifications()
    notifications.take(_message("first", 30, modified=30, payload=1))
    empty = Message(id="empty", channel=Channel.CALLOUT, received_at=_at(40), payload={}, modified_at=_at(40))
    notifications.take(empty)
    assert 1 == _newest(notifications)


@pytest.mark.parametrize(("minute", "modified"), [(40, 40), (40, 30), (49, 49), (50, 50), (55, 55), (45, None)])
def test_a_deletion_counts_though_a_person_has_decided_since(minute: int, modified: int | None) -> None:
    """It is the last thing that happens to a record, so no decision about the order covers it."""
    notifications = Notifications()
    notifications.take(_message("first", 30, modified=30, payload=1))
    notifications.news, notifications.decided_at = False, _at(50)
    notifications.take(_message("deleted", minute, modified=modified, deleted=True))
    assert (True, True) == (notifications.news, notifications.deleted)
    notifications.news = False
    notifications.take(_message("deleted", minute, modified=modified, deleted=True))
    assert not notifications.news


def test_a_tombstone_of_an_older_state_deletes_nothing_after_a_decision_either() -> None:
    """The record was changed after it: it was taken out of the recycle bin."""
    notifications = Notifications()
    notifications.take(_message("first", 30, modified=30, payload=1))
    notifications.decided_at = _at(50)
    notifications.take(_message("deleted", 55, modified=29, deleted=True))
    assert not notifications.deleted
    assert 1 == _newest(notifications)
