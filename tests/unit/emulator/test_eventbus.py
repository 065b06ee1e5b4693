"""Replay positions, retention, and what a move of the org does to them."""

from __future__ import annotations

from datetime import timedelta

from closedwon.emulators.salesforce.bus.eventbus import ALL_EVENTS, NEW_EVENTS
from closedwon.emulators.salesforce.org import EmulatedOrg

CHANNEL = "/event/Order_Requested__e"


def replay_ids(org: EmulatedOrg, position: int | None) -> list[int]:
    """The replay ids after a position."""
    assert position is not None
    return [one.replay_id for one in org.bus.after(CHANNEL, position, 1000)]


def test_replay_ids_grow_with_gaps(org: EmulatedOrg) -> None:
    """Replay ids increase and are not contiguous; every event has its own EventUuid."""
    uuids = [org.publish("Order_Requested__e", Account_Name__c=str(number)) for number in range(50)]
    ids = replay_ids(org, 0)
    assert sorted(set(ids)) == ids
    assert ids[-1] - ids[0] > len(ids)
    found = org.bus.after(CHANNEL, 0, 1000)
    assert uuids == [one.data["event"]["EventUuid"] for one in found]
    assert [str(number) for number in range(50)] == [one.data["payload"]["Account_Name__c"] for one in found]


def test_positions(org: EmulatedOrg) -> None:
    """-2 means all events, -1 no past ones, an id the events after it; an unknown id is not a position."""
    for _ in range(3):
        org.publish("Order_Requested__e")
    ids = replay_ids(org, org.bus.position(ALL_EVENTS))
    assert (3, []) == (len(ids), replay_ids(org, org.bus.position(NEW_EVENTS)))
    assert ids[1:] == replay_ids(org, org.bus.position(ids[0]))
    assert org.bus.position(ids[-1] + 1) is None
    assert org.bus.position(-3) is None


def test_events_are_kept_for_72_hours(org: EmulatedOrg) -> None:
    """An event can be replayed for 72 hours of the org's clock; then it is removed and its replay id invalid."""
    org.publish("Order_Requested__e", Account_Name__c="old")
    org.clock.advance(timedelta(hours=71, minutes=59))
    org.publish("Order_Requested__e", Account_Name__c="new")
    old, new = replay_ids(org, 0)
    org.clock.advance(timedelta(minutes=2))
    assert [new] == replay_ids(org, org.bus.position(ALL_EVENTS))
    assert (None, new) == (org.bus.position(old), org.bus.position(new))


def test_a_moved_bus_rejects_old_ids(org: EmulatedOrg) -> None:
    """After a move, every old replay id is invalid, and new ones are unrelated to them."""
    org.publish("Order_Requested__e")
    old = replay_ids(org, 0)[0]
    org.move_bus()
    assert org.bus.position(old) is None
    org.publish("Order_Requested__e")
    new = replay_ids(org, org.bus.position(ALL_EVENTS))
    assert 1 == len(new)
    assert new[0] < old


def test_duplicate_events(org: EmulatedOrg) -> None:
    """A duplicate event has the same EventUuid and payload, and another replay id."""
    org.faults.double_events()
    org.publish("Order_Requested__e", Account_Name__c="A")
    first, second = org.bus.after(CHANNEL, 0, 10)
    assert first.data == second.data
    assert first.replay_id < second.replay_id


def test_dropped_events(org: EmulatedOrg) -> None:
    """A dropped event is not published, but its record is written; the next event is published."""
    org.faults.drop_events()
    org.publish("Order_Requested__e", Account_Name__c="lost")
    org.publish("Order_Requested__e", Account_Name__c="there")
    (event,) = org.bus.after(CHANNEL, 0, 10)
    assert "there" == event.data["payload"]["Account_Name__c"]
