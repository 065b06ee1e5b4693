"""One reading of a record is exactly one of five cases, and what the record says about its order needs a proof."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from closedwon.errors import AttentionError, AttentionReason
from closedwon.mapping.record import Erps, Record, gone, snapshot, until_quiet
from closedwon.model.erp import CANCELLED_UNQUALIFIED, KEPT_UNQUALIFIED
from closedwon.model.messages import Message
from closedwon.model.routes import Channel
from closedwon.model.snapshot import Declined, Deleted, Hidden, NotWanted, RecordSnapshot, Wanted
from closedwon.settings import Route, Settings
from tests.support.mapping import KEY, ORG, OTHER_KEY, RECORD, deal, example_route, line, order_of, record_of

NO_KEY_FIELD = ('key = "ERP_Order_Key__c"', "")
NO_NUMBER_FIELD = ('\nnumber = "ERP_Order_Number__c"', "")


class Shows(NamedTuple):
    """What the record's fields hold."""

    number: str | None = None
    status: str | None = None
    key: str | None = None


def seen(shows: Shows, route: Route | None = None, **fields: Any) -> RecordSnapshot:
    """Read the record under test."""
    said = {
        "ERP_Order_Number__c": shows.number,
        "ERP_Order_Status__c": shows.status,
        "ERP_Order_Key__c": shows.key,
    }
    return snapshot(record_of(deal(**said, **fields), route), Erps(("tryton",)))


@pytest.mark.parametrize(
    ("shows", "number", "is_proven", "reopen", "unproven"),
    [
        (Shows(), None, False, False, None),
        (Shows(key=KEY), None, False, False, None),
        (Shows("SO-1"), "SO-1", False, False, None),
        (Shows("SO-1", "confirmed"), "SO-1", False, False, None),
        (Shows("SO-1", "confirmed", KEY), "SO-1", True, False, None),
        (Shows("SO-1", "needs attention", KEY), "SO-1", True, False, None),
        (Shows("SO-1", None, KEY), "SO-1", False, False, None),
        (Shows("SO-1", CANCELLED_UNQUALIFIED, KEY), "SO-1", True, True, None),
        (Shows(None, CANCELLED_UNQUALIFIED, KEY), None, False, True, None),
        (Shows("SO-1", CANCELLED_UNQUALIFIED), "SO-1", False, False, None),
        (Shows("SO-1", CANCELLED_UNQUALIFIED, OTHER_KEY), None, False, False, None),
        (Shows("SO-1", "confirmed", OTHER_KEY), None, False, False, None),
        (Shows("SO-1", "cancelled", OTHER_KEY), None, False, False, None),
        (Shows("SO-1", "cancelled"), "SO-1", False, False, "cancelled"),
        (Shows(None, "not needed"), None, False, False, "not needed"),
        (Shows("SO-1", "cancelled", "see 4711"), "SO-1", False, False, "cancelled"),
        (Shows("SO-1", "confirmed", KEY[:30]), "SO-1", False, False, None),
        (Shows("SO-1", "cancelled, no longer won", KEY.lower()), "SO-1", True, True, None),
        (Shows("SO-1", "cancelled", " "), "SO-1", False, False, "cancelled"),
    ],
)
def test_a_won_record_says_what_it_can_prove(
    shows: Shows, number: str | None, is_proven: object, reopen: object, unproven: str | None
) -> None:
    """Own key: all counts. Another record's key: nothing does. Not a key: the number is handed on as unproven."""
    found = seen(shows)
    assert isinstance(found, Wanted)
    assert (number, is_proven, reopen, unproven) == (
        found.number, found.number_is_proven, found.reopen, found.unproven_status,
    )  # fmt: skip
    assert (shows.number, (shows.key and shows.key.strip()) or None) == (
        found.written["ERP_Order_Number__c"], found.written["ERP_Order_Key__c"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "note"), [("cancelled", "its order was cancelled"), ("not needed", "it was closed as not needed")]
)
def test_what_a_person_declined_stays_declined(status: str, note: str) -> None:
    """The note says how to order after all."""
    found = seen(Shows(status=status, key=KEY))
    assert isinstance(found, Declined)
    assert f"{note}; empty ERP_Order_Status__c to order" == found.note


@pytest.mark.parametrize(
    ("shows", "number", "may_have_order"),
    [
        (Shows(), None, False),
        (Shows("SO-1"), "SO-1", True),
        (Shows("SO-1", "confirmed", KEY), "SO-1", True),
        (Shows("SO-1", "confirmed", OTHER_KEY), None, True),
        (Shows("SO-1", "cancelled", OTHER_KEY), None, True),
        (Shows("SO-1", "cancelled", KEY), None, True),
        (Shows("SO-1", "cancelled"), None, True),
        (Shows(None, "confirmed", KEY), None, True),
        (Shows(None, "needs attention"), None, True),
        (Shows(None, None, KEY), None, True),
        (Shows(None, None, KEY[:30]), None, True),
        (Shows(None, "not needed", KEY), None, False),
        (Shows("SO-1", CANCELLED_UNQUALIFIED, KEY), "SO-1", False),
        (Shows("SO-1", KEPT_UNQUALIFIED, KEY), "SO-1", False),
        (Shows("SO-1", KEPT_UNQUALIFIED), "SO-1", True),
        (Shows("SO-1", CANCELLED_UNQUALIFIED), "SO-1", True),
        (Shows("SO-1", CANCELLED_UNQUALIFIED, OTHER_KEY), None, True),
    ],
)
def test_a_record_that_is_not_won_says_whether_it_may_have_an_order(
    shows: Shows, number: str | None, may_have_order: object
) -> None:
    """What is about another record, or not proven, says nothing of this record's order: then the ERP is asked."""
    found = seen(shows, IsWon=False)
    assert isinstance(found, NotWanted)
    assert (number, may_have_order, True) == (found.number, found.may_have_order, found.is_certain)


@pytest.mark.parametrize(
    ("shows", "number", "may_have_order"),
    [
        (Shows(), None, False),
        (Shows("SO-1", "confirmed", KEY), "SO-1", True),
        (Shows("SO-1", "cancelled"), None, True),
        (Shows(None, "not needed"), None, True),
        (Shows("SO-1", "cancelled", OTHER_KEY), None, True),
        (Shows("SO-1", CANCELLED_UNQUALIFIED, KEY), "SO-1", False),
    ],
)
def test_a_record_without_a_verdict_is_not_wanted_for_certain(
    shows: Shows, number: str | None, may_have_order: object
) -> None:
    """Neither yes nor no: nothing is ordered, and nothing is cancelled for it."""
    found = seen(shows, IsWon=None)
    assert isinstance(found, NotWanted)
    assert (number, may_have_order, False) == (found.number, found.may_have_order, found.is_certain)


@pytest.mark.parametrize("status", ["cancelled", "not needed"])
def test_what_a_person_declined_needs_no_verdict(status: str) -> None:
    """The own key proves it, so no person is asked; a record that is certainly not won is still not wanted."""
    shows = Shows("SO-1", status, KEY)
    assert isinstance(seen(shows, IsWon=None), Declined)
    reopened = seen(shows, IsWon=False)
    assert isinstance(reopened, NotWanted)
    assert (None, True) == (reopened.number, reopened.is_certain)


@pytest.mark.parametrize(
    ("shows", "is_placed"),
    [
        (Shows(), False),
        (Shows("SO-1", "confirmed", KEY), True),
        (Shows("SO-1", KEPT_UNQUALIFIED, KEY), True),
        (Shows("SO-1", "confirmed"), False),
        (Shows("SO-1", "confirmed", OTHER_KEY), False),
        (Shows("SO-1", "draft", KEY), False),
        (Shows("SO-1", "cancelled", KEY), False),
    ],
)
def test_every_reading_says_whether_the_order_is_proven(shows: Shows, *, is_placed: bool) -> None:
    """With the route's policies, the record's time and what was written, whichever case it is."""
    readings = [seen(shows), seen(shows, IsWon=False), seen(shows, IsWon=None)]
    assert [is_placed] * 3 == [one.is_placed for one in readings]
    for one in readings:
        assert datetime(2026, 11, 3, 9, tzinfo=UTC) == one.modified_at
        assert example_route().policies == one.policies
        assert shows.status == one.written["ERP_Order_Status__c"]
    for one in (seen(shows, example_route(NO_KEY_FIELD)), seen(shows, example_route(NO_KEY_FIELD), IsWon=False)):
        assert one.is_placed is None


def test_an_order_needs_a_number_where_the_route_writes_one_back() -> None:
    """Without the field there is nothing to wait for."""
    for route, needs_number in ((example_route(), True), (example_route(NO_NUMBER_FIELD), False)):
        found = seen(Shows(), route)
        assert isinstance(found, Wanted)
        assert needs_number is found.needs_number


@pytest.mark.parametrize(
    ("shown", "named", "expected"),
    [
        (9, 10, True),
        (10, 10, False),
        (11, 10, False),
        (None, 10, False),
        (9, None, False),
        (None, None, False),
    ],
)
def test_a_record_is_older_than_a_notification_of_a_later_time(
    shown: int | None, named: int | None, *, expected: bool
) -> None:
    """Only then is it read again; an unknown time or an equal time is not a reason."""
    stamp = None if shown is None else f"2026-11-03T{shown:02}:00:00.000+0000"
    at = None if named is None else datetime(2026, 11, 3, named, tzinfo=UTC)
    assert expected is record_of(deal(SystemModstamp=stamp)).is_older_than(at)


def test_without_fields_nothing_is_proven_or_excluded() -> None:
    """No key field: the ERP decides. No number field: there may be an order. No status field: the number is enough."""
    found = seen(Shows("SO-1", "confirmed", KEY), example_route(NO_KEY_FIELD))
    assert isinstance(found, Wanted)
    assert ("SO-1", False) == (found.number, found.number_is_proven)
    reopened = seen(Shows(key=KEY), example_route(NO_NUMBER_FIELD), IsWon=False)
    assert isinstance(reopened, NotWanted)
    assert reopened.may_have_order
    route = example_route().model_copy(
        update={"write_back": example_route().write_back.model_copy(update={"status": None})}
    )
    proven = seen(Shows("SO-1", None, KEY), route)
    assert isinstance(proven, Wanted)
    assert proven.number_is_proven


def test_a_record_that_picks_its_erp_may_have_an_order_in_the_others() -> None:
    """Where an expression picks, all others are asked; a name that is not configured needs attention."""
    route = example_route(('erp = "tryton" ', 'erp = { expression = "PO_Number__c" } '))
    record = record_of(deal(PO_Number__c="sap"), route)
    found = snapshot(record, Erps(("tryton", "sap", "facade")))
    assert isinstance(found, Wanted)
    assert ("sap", ("tryton", "facade")) == (found.erp, found.other_erps)
    reopened = snapshot(record_of(deal(PO_Number__c="sap", IsWon=False), route), Erps(("tryton", "sap")))
    assert isinstance(reopened, NotWanted)
    assert reopened.erp is None
    fixed = seen(Shows("SO-1", "confirmed", KEY), IsWon=False)
    assert isinstance(fixed, NotWanted)
    assert "tryton" == fixed.erp
    with pytest.raises(AttentionError, match="does not yield the name of a configured ERP") as caught:
        snapshot(record, Erps(("tryton",)))
    assert caught.value.reason == AttentionReason.CONFIGURATION


@pytest.mark.parametrize(
    ("siblings", "number", "expected"),
    [
        ([], "SO-1", ()),
        (["sap"], None, ()),
        (["sap"], "SO-1", ("sap",)),
        (["tryton"], "SO-1", ()),
        (["sap", "sap"], "SO-1", ("sap",)),
        (["sap", None], "SO-1", ("sap", "facade")),
    ],
)
def test_a_record_that_shows_a_number_may_have_gone_another_route(
    siblings: list[str | None], number: str | None, expected: tuple[str, ...]
) -> None:
    """Only the ERPs of other routes over the same records are asked; all of them where one picks by an expression."""
    picking = example_route(('erp = "tryton" ', 'erp = { expression = "PO_Number__c" } '))
    others = tuple(picking if name is None else example_route().model_copy(update={"erp": name}) for name in siblings)
    record = record_of(deal(ERP_Order_Number__c=number))
    found = snapshot(record, Erps(("tryton", "sap", "facade"), others))
    assert isinstance(found, Wanted)
    assert expected == found.other_erps


def test_what_is_not_there_is_not_known() -> None:
    """A write-back field that was not read is left out instead of counting as empty."""
    fields = deal()
    del fields["ERP_Order_Number__c"]
    assert "ERP_Order_Number__c" not in record_of(fields).written()
    reopened = snapshot(record_of({**fields, "IsWon": False}), Erps(("tryton",)))
    assert isinstance(reopened, NotWanted)
    assert reopened.may_have_order


@pytest.mark.parametrize("value", [None, "yesterday", "2026-11-03", "2026-11-03T09:00:00", 5, {}])
def test_a_moment_that_cannot_be_read_is_not_known(value: Any) -> None:
    """Neither a wrong type nor a missing offset stops an order; the moment is None."""
    order = order_of(CreatedDate=value, SystemModstamp=value)
    assert (None, None) == (order.created_at, order.modified_at)
    assert record_of(deal(SystemModstamp=value)).changed_at() is None


def test_free_fields_of_order_and_lines_are_texts() -> None:
    """Numbers exactly, booleans as true or false, dates as they are; one without a value is left out."""
    extra = (
        '[routes.order.extra]\nwon = "IsWon"\nclosed = "CloseDate"\nfee = "Amount"\n'
        '[routes.order.lines.extra]\nrate = "Discount"\nnone = "Description"\n'
    )
    order = order_of(line(1, 100, Discount=2.5), Amount=97.50, route=example_route(("# [routes.order.extra]", extra)))
    assert {"won": "true", "closed": "2026-11-03", "fee": "97.5"} == order.extra
    assert [{"rate": "2.5"}] == [one.extra for one in order.lines]


def test_a_record_is_made_exact_once() -> None:
    """All questions are put to the data that was opened; a change of the caller's data afterwards does not count."""
    fields = deal()
    record = Record(example_route(), ORG, RECORD, fields)
    fields["IsWon"] = False
    assert record.qualifies()


NINE = datetime(2026, 11, 3, 9, 0, tzinfo=UTC)


def notified(**fields: Any) -> Message:
    """A notification about the record."""
    return Message(id="m", channel=Channel.CALLOUT, received_at=NINE, **fields)


@pytest.mark.parametrize("erp", ["tryton", None])
def test_t5_a_record_that_was_not_found_is_deleted_or_hidden(erp: str | None) -> None:
    """Only a tombstone says when it was deleted; the route's policies come with both, its ERP where it is one."""
    picking = ('erp = "tryton" ', 'erp = { expression = "PO_Number__c" } ')
    route = (example_route(picking) if erp is None else example_route()).model_copy(update={"on_unqualified": "ignore"})
    common: dict[str, Any] = {"erp": erp, "policies": route.policies}
    for message, at in (
        (notified(deleted=True, modified_at=NINE), NINE),
        (notified(deleted=True), None),
        (notified(modified_at=NINE), None),
        (None, None),
    ):
        assert Deleted(modified_at=at, **common) == gone(route, message, is_deleted=True)
        assert Hidden(**common) == gone(route, message, is_deleted=False)


@pytest.mark.parametrize("message", [None, notified(), notified(modified_at=NINE)])
def test_t5_a_notification_without_content_makes_no_order(message: Message | None) -> None:
    """Neither of none: the hint says what Salesforce or the route must do."""
    with pytest.raises(AttentionError, match="takes the order from the event, but no event with a payload") as caught:
        Record.from_message(example_route(), ORG, RECORD, message)
    assert AttentionReason.INVALID_MESSAGE is caught.value.reason
    assert caught.value.hint.startswith('Set source = "record" for this route')


def test_t5_a_notification_brings_its_own_time_and_no_fields() -> None:
    """Whatever its content says: what was written back is not known of a notification."""
    route = example_route().model_copy(update={"source": "event", "payload": "Payload__c"})
    for at in (NINE, None):
        message = notified(payload={"Payload__c": deal(ERP_Order_Number__c="SO-1")}, modified_at=at)
        record = Record.from_message(route, ORG, RECORD, message)
        assert (at, at, {}) == (record.modified_at, record.order().modified_at, record.written())


@pytest.mark.parametrize(
    ("quiet", "changed", "now", "left"),
    [
        (0, "2026-11-03T09:00:00.000+0000", NINE, 0),
        (0, "2026-11-03T10:00:00.000+0000", NINE, 0),
        (60, None, NINE, 0),
        (60, "2026-11-03T09:00:00.000+0000", NINE, 60),
        (60, "2026-11-03T09:00:00.000+0000", NINE + timedelta(seconds=59), 1),
        (60, "2026-11-03T09:00:00.000+0000", NINE + timedelta(seconds=60), 0),
        (60, "2026-11-03T09:00:00.000+0000", NINE + timedelta(hours=1), 0),
    ],
)
def test_m5_a_record_is_not_ordered_while_it_changes(quiet: int, changed: Any, now: datetime, left: int) -> None:
    """A route without a quiet time waits for nothing, nor does a record whose last change is not known."""
    route = example_route().model_copy(update={"quiet": timedelta(seconds=quiet)})
    assert timedelta(seconds=left) == until_quiet(record_of(deal(SystemModstamp=changed), route), now)


def test_m5_a_change_of_a_line_is_a_change_of_the_record() -> None:
    """The newest one counts, of whatever child records were read; what is not a record does not count."""
    lines = [line(SystemModstamp="2026-11-03T09:30:00.000+0000"), line(SystemModstamp="2026-11-03T09:20:00.000+0000")]
    strange = {"A": {"records": "no list"}, "B": {"records": [5]}, "C": [1], "D": {"records": None}}
    assert NINE + timedelta(minutes=30) == record_of(deal(*lines, **strange)).changed_at()
    assert NINE == record_of(deal(line())).changed_at()


def test_a_field_in_another_case_is_refused() -> None:
    """It would count as empty, and be written again and again."""
    for other in ("erp_order_number__c", "ERP_ORDER_NUMBER__C"):
        fields = deal()
        fields[other] = fields.pop("ERP_Order_Number__c")
        with pytest.raises(AttentionError, match=f"no field ERP_Order_Number__c; did you mean {other}"):
            record_of(fields).written()


def test_the_settings_say_where_orders_may_be(load: Callable[[str], Settings], example: str) -> None:
    """All ERPs by name, and the other routes over the same records."""
    settings = load(example)
    (first, *others) = settings.routes
    second = first.model_copy(update={"name": "second"})
    both = settings.model_copy(update={"routes": (first, *others, second)})
    assert Erps(tuple(erp.name for erp in settings.erps), (second,)) == Erps.of(both, first)
    assert 0 < len(Erps.of(both, first).names)
