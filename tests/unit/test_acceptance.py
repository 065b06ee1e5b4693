"""What becomes of a notification before anything is durable: record by record, channel by channel."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from temporalio.common import Priority

from closedwon import acceptance
from closedwon.acceptance import Notification, accept, in_place_of_event, order_start, prepare
from closedwon.errors import AttentionReason
from closedwon.ids import OrgId, RecordId
from closedwon.mapping.orders import MappingError
from closedwon.model.messages import UnparseableMessage
from closedwon.model.routes import Channel, RetrySettings
from closedwon.settings import Settings
from closedwon.temporal.orders import FullError, UnstorableError

RECORD = RecordId("006000000000001AAA")
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
EARLIER = NOON - timedelta(minutes=20)
STAMP = "2026-11-24T11:30:00.000+0000"
STAMPED = datetime(2026, 11, 24, 11, 30, tzinfo=UTC)

Load = Callable[..., Settings]


@pytest.fixture
def settings(example: str, load: Callable[[str], Settings]) -> Load:
    """Return a function that loads the example with some texts replaced."""

    def changed(*changes: tuple[str, str]) -> Settings:
        text = example
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        return load(text)

    return changed


def by_event(settings: Settings) -> Settings:
    """The same, with orders made of the notification's own content."""
    route = settings.routes[0].model_copy(update={"source": "event", "payload": "Payload__c"})
    return settings.model_copy(update={"routes": (route, *settings.routes[1:])})


def notified(**fields: Any) -> Notification:
    """A notification about an Opportunity."""
    return Notification(**{"record": RECORD, "id": "m-1", "channel": Channel.CALLOUT, "received_at": NOON, **fields})


def test_the_workflow_gets_what_the_route_says(settings: Load) -> None:
    """Org, record, pace, and how to follow an order that was taken by its number."""
    whole = settings()
    paces = {"initial_interval": timedelta(seconds=7), "maximum_interval": timedelta(minutes=7)}
    whole = whole.model_copy(update={"retry": whole.retry.model_copy(update=paces)})
    route = whole.routes[0].model_copy(update={"retry_for": timedelta(days=7)})
    start = order_start(whole, route, RECORD)
    assert (whole.org(route.org).id, RECORD, route.name) == (start.org, start.record, start.route)
    assert OrgId(start.org) == start.org
    assert RetrySettings(**paces, retry_for=timedelta(days=7)) == start.retry_settings
    assert route.policies.follow == start.follow
    assert start.state is None


def test_a_notification_names_its_route(settings: Load) -> None:
    """The record's workflow may follow another route over the same object, and cannot read settings itself."""
    whole = by_event(settings())
    start, message, _ = prepare(whole, whole.routes[0], notified())
    assert message.route is not None
    assert (start.route, start.retry_settings, start.late_message_window, start.follow) == (
        message.route.route, message.route.retry_settings, message.route.late_message_window, message.route.follow,
    )  # fmt: skip


def test_only_orders_made_of_notifications_wait_for_late_ones(settings: Load) -> None:
    """For 72 hours, as long as the event bus replays."""
    whole = settings()
    assert timedelta(0) == order_start(whole, whole.routes[0], RECORD).late_message_window
    whole = by_event(whole)
    assert timedelta(hours=72) == order_start(whole, whole.routes[0], RECORD).late_message_window


@pytest.mark.parametrize("source", ["record", "event"])
@pytest.mark.parametrize("deleted", [True, False])
def test_the_content_is_kept_only_where_the_order_is_made_of_it(settings: Load, source: str, *, deleted: bool) -> None:
    """And never of a tombstone; everything else is passed on as it came."""
    whole = by_event(settings()) if source == "event" else settings()
    fields = {"Payload__c": {"Name": "Roof"}}
    given = notified(fields=fields, modified_at=EARLIER, deleted=deleted, session="sealed", summary="s")
    message = prepare(whole, whole.routes[0], given).message
    assert (fields if source == "event" and not deleted else None) == message.payload
    assert ("m-1", Channel.CALLOUT, NOON, EARLIER, "sealed", deleted) == (
        message.id, message.channel, message.received_at, message.modified_at, message.session, message.deleted,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "modified_at", "expected"),
    [
        (None, EARLIER, EARLIER),
        (None, None, None),
        (None, NOON + timedelta(days=1), None),
        ({}, EARLIER, EARLIER),
        ({"SystemModstamp": STAMP}, EARLIER, STAMPED),
        ({"SystemModstamp": STAMP}, None, STAMPED),
        ({"SystemModstamp": "nonsense"}, EARLIER, EARLIER),
        ({"SystemModstamp": "2099-01-01T00:00:00.000+0000"}, EARLIER, None),
        ({"Payload__c": {"SystemModstamp": STAMP}, "SystemModstamp": "nonsense"}, EARLIER, STAMPED),
        ({"Payload__c": "{", "SystemModstamp": STAMP}, EARLIER, STAMPED),
    ],
)
def test_the_records_own_time_counts(settings: Load, fields: Any, modified_at: Any, expected: Any) -> None:
    """That of the content outranks the channel's; one of the future is none; content that cannot be read has none."""
    whole = by_event(settings())
    given = notified(fields=fields, modified_at=modified_at)
    assert expected == prepare(whole, whole.routes[0], given).message.modified_at


@pytest.mark.parametrize(
    ("fields", "summary", "expected"),
    [
        (None, None, None),
        (None, "from the sweep", "from the sweep"),
        ({}, "from the sweep", "from the sweep"),
        ({"Payload__c": {"Name": "Roof"}}, "from the sweep", "Roof"),
        ({"Payload__c": {}}, None, None),
    ],
)
def test_the_workflows_page_names_the_deal(settings: Load, fields: Any, summary: Any, expected: Any) -> None:
    """By the content where it does, else by the channel's words."""
    whole = by_event(settings())
    assert expected == prepare(whole, whole.routes[0], notified(fields=fields, summary=summary)).summary


def test_t6_a_record_of_another_object_is_refused(settings: Load) -> None:
    """The prefix of a standard object is known; that of a custom one begins with an "a"."""
    whole, account = settings(), notified(record=RecordId("001000000000001AAA"))
    with pytest.raises(MappingError) as caught:
        prepare(whole, whole.routes[0], account)
    assert AttentionReason.INVALID_MESSAGE is caught.value.reason
    custom = whole.routes[0].model_copy(update={"object": "Deal__c"})
    with pytest.raises(MappingError):
        prepare(whole, custom, account)
    own = notified(record=RecordId("a01000000000001"))
    assert own.record == prepare(whole, custom, own).order.record


async def test_what_was_prepared_is_started_with_its_priority(settings: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps come after live notifications; everything else is passed on as it was prepared."""
    started: list[Any] = []

    async def start_order(*positional: Any, **named: Any) -> None:
        started.append((positional, named))

    monkeypatch.setattr("closedwon.acceptance.start_order", start_order)
    whole, given, client = settings(), notified(summary="from the sweep"), object()
    later = Priority(priority_key=5)
    await accept(client, whole, whole.routes[0], given, priority=later)  # type: ignore[arg-type]
    await accept(client, whole, whole.routes[0], given)  # type: ignore[arg-type]
    order, message, summary = prepare(whole, whole.routes[0], given)
    assert [
        ((client, order, message), {"summary": summary, "priority": priority}) for priority in (later, Priority.default)
    ] == started


@pytest.mark.parametrize(("payload", "is_whole"), [("@", True), ("Payload__c", False), ("!", False)])
def test_a_record_that_takes_an_events_place_is_where_the_route_looks(
    settings: Load, payload: str, *, is_whole: bool
) -> None:
    """As the whole content, or as a text in its field."""
    route = settings().routes[0].model_copy(update={"payload": payload})
    found = in_place_of_event(route, {"Name": "Roof", "At": NOON})
    assert (
        {"Name": "Roof", "At": NOON} if is_whole else {payload: '{"Name": "Roof", "At": "2026-11-24 12:00:00+00:00"}'}
    ) == found


@pytest.mark.parametrize("source", ["event", "record"])
@pytest.mark.parametrize(
    ("said", "refused"),
    [
        (RECORD, False),
        (RECORD.short, False),
        (None, False),
        ("006000000000002AAA", True),
        ("006000000000002", True),
        ("00k000000000001AAA", "event"),
        ("no id", "event"),
    ],
)
def test_content_of_another_record_is_refused(
    settings: Load, source: str, said: str | None, *, refused: bool | str
) -> None:
    """Apex that takes the wrong variable of a loop: no order of one deal is made of what another one says."""
    whole = by_event(settings()) if source == "event" else settings()
    content = {"Name": "Roof"} | ({} if said is None else {"Id": said})
    given = notified(fields={"Payload__c": json.dumps(content)} if source == "event" else content)
    if refused in {True, source}:
        with pytest.raises(MappingError, match="its content has the `Id` of another one") as caught:
            prepare(whole, whole.routes[0], given)
        assert AttentionReason.INVALID_MESSAGE is caught.value.reason
        assert "00600000" not in str(caught.value)
    else:
        prepare(whole, whole.routes[0], given)


def test_content_without_any_field_is_none(settings: Load) -> None:
    """It would replace what an earlier notification says of the record."""
    whole = by_event(settings())
    assert prepare(whole, whole.routes[0], notified(fields={})).message.payload is None


async def test_a_notification_whose_workflow_is_full_is_held(settings: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Complete, once for each message of the record, with the channel and what to do."""
    whole = by_event(settings())
    prepared = prepare(whole, whole.routes[0], notified(fields={"Payload__c": {"Name": "Roof"}}))
    held: list[UnparseableMessage] = []

    async def full(*_given: Any, **_more: Any) -> None:
        raise FullError(prepared.order.record)

    async def park(_client: Any, message: UnparseableMessage) -> None:
        held.append(message)

    monkeypatch.setattr(acceptance, "start_order", full)
    monkeypatch.setattr(acceptance, "park_unparseable", park)
    await acceptance.start(cast("Any", None), prepared)
    (message,) = held
    assert message.is_held
    assert message.id.startswith(f"{prepared.order.record}-")
    assert (prepared.order.org, prepared.message.channel, prepared.message.received_at) == (
        message.org, message.channel, message.received_at,
    )  # fmt: skip
    assert f"route {prepared.order.route}" == message.source
    assert prepared.order.record in message.problem
    assert "`retry`" in str(message.hint)
    kept = acceptance.HeldNotification.model_validate_json(message.raw)
    assert prepared == (kept.order, kept.message, kept.summary)


def test_half_a_character_is_found_before_anything_is_sent(settings: Load) -> None:
    """Apex may cut a text within an emoji; JSON cannot hold the half, so the notification is refused as unstorable."""
    changed = by_event(settings())

    with pytest.raises(UnstorableError, match="half a surrogate pair"):
        prepare(changed, changed.routes[0], notified(fields={"Note__c": "cut \ud83d"}))
