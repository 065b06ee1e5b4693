"""The administration: faults, clock, counters, audits."""

# ruff: noqa: S608 - SOQL of our own making

from __future__ import annotations

from typing import Any

import pytest

from closedwon.emulators.salesforce import SalesforceEmulator
from tests.integration.emulator.conftest import CHANNEL, Subscriber, Wire


async def test_the_administration_needs_its_own_token(wire: Wire) -> None:
    """Neither a Salesforce token nor a missing one gives access."""
    for headers in ({}, {"Authorization": ""}):
        assert (await wire.call("GET", "/_admin/state", headers=headers)).status == 401
    assert (await wire.admin("GET", "state")).status == 200


async def test_the_state_counts(wire: Wire, subscriber: Subscriber) -> None:
    """The state has calls by path, events published and sent, clients, and armed faults."""
    record = wire.org.seed(1)[0]
    await subscriber.start()
    await wire.rest("PATCH", f"/sobjects/Opportunity/{record}", {"StageName": "Closed Won"})
    await wire.rest("GET", f"/sobjects/Opportunity/{record}")
    await wire.rest("GET", "/nope")
    await subscriber.poll()
    wire.org.faults.lose_answers(3)
    state = (await wire.admin("GET", "state")).body
    assert {"PATCH /sobjects/*/*": 1, "GET /sobjects/*/*": 1, "GET (unknown)": 1} == state["api_calls"]
    assert (1, 1, 1, 0) == tuple(
        state[name] for name in ("events_published", "events_sent", "cometd_clients", "held_polls")
    )
    assert (3, wire.org.org_id) == (state["faults"]["lost_answer"], state["org_id"])


@pytest.mark.parametrize(
    ("fault", "arguments"),
    [
        ("lock-rows", {"times": 2}),
        ("record-error", {"code": "UNABLE_TO_LOCK_ROW"}),
        ("fail-automation", {"above": 50}),
        ("request-limit", {}),
        ("rest-error", {"code": "UNKNOWN_EXCEPTION", "status": None}),
        ("lose-answers", {"times": 2}),
        ("lose-events", {}),
        ("double-events", {}),
        ("lose-acks", {"times": 2}),
        ("double-messages", {}),
        ("reorder-messages", {}),
        ("stall-messages", {}),
        ("split-messages", {}),
        ("read-lag", {"seconds": 1.5}),
        ("slow-writes", {"seconds": 0.5}),
        ("down", {}),
        ("unauthorized", {}),
        ("edge-page", {}),
        ("mute", {"on": True}),
        ("cometd-unauthorized", {}),
        ("cometd-error", {"channel": "/meta/connect", "error": "403::Oops"}),
        ("broken-json", {}),
        ("advice-interval", {"milliseconds": 5}),
    ],
)
async def test_every_fault_is_armed_and_cleared(wire: Wire, fault: str, arguments: dict[str, Any]) -> None:
    """Each fault can be armed over HTTP, is shown in the state, and is cleared by `clear`."""
    idle = wire.org.faults.armed()
    assert (await wire.admin("POST", f"faults/{fault}", arguments)).status == 200
    assert idle != wire.org.faults.armed()
    assert (await wire.admin("POST", "faults/clear")).status == 200
    assert idle == wire.org.faults.armed()


async def test_every_fault_is_described(wire: Wire) -> None:
    """The list of faults has a description of each."""
    listed = (await wire.admin("GET", "faults")).body
    assert {"cut-polls", "kick", "move-bus", "unknown-client", "expire-tokens", "revoke-tokens", "down"} <= set(listed)
    assert all(listed.values())


async def test_faults_with_an_immediate_effect(wire: Wire, subscriber: Subscriber) -> None:
    """Tokens, sessions and the bus can be affected over HTTP."""
    org = wire.org
    await subscriber.start()
    assert {"fault": "cut-polls", "result": 0} == (await wire.admin("POST", "faults/cut-polls")).body
    await wire.admin("POST", "faults/unknown-client")
    assert {} == org.cometd.clients
    for fault in ("expire-tokens", "revoke-tokens"):
        token = org.oauth.issue(org.integration_user)
        await wire.admin("POST", f"faults/{fault}")
        assert org.oauth.user_of(token) is None
    before = org.bus.last_replay_id()
    await wire.admin("POST", "faults/move-bus")
    assert org.bus.last_replay_id() < before


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "faults/nope", {}, 404),
        ("GET", "nope", None, 404),
        ("POST", "faults/lock-rows", {"times": "many"}, 400),
        ("POST", "faults/lock-rows", {"tims": 1}, 400),
        ("POST", "clock", {}, 400),
        ("POST", "faults/lock-rows", [], 400),
    ],
)
async def test_mistakes_are_reported(wire: Wire, method: str, path: str, body: Any, status: int) -> None:
    """A wrong fault, path or argument is refused with a reason."""
    reply = await wire.admin(method, path, body)
    assert status == reply.status
    assert reply.body["error"]


async def test_the_clock_and_raw_events(wire: Wire) -> None:
    """The clock is advanced, and events of any form are published over HTTP."""
    before = wire.org.clock.now_ms()
    await wire.admin("POST", "clock", {"advance_seconds": 3600})
    assert 3_600_000 <= wire.org.clock.now_ms() - before < 3_700_000
    raw = await wire.admin("POST", "events", {"channel": CHANNEL, "data": {"payload": "not even an object"}})
    event = wire.org.bus.after(CHANNEL, 0, 10)[0]
    assert (raw.body, "not even an object") == (event.replay_id, event.data["payload"])


async def test_audit_and_seed(wire: Wire) -> None:
    """Seeding over HTTP returns the ids; the audit lists every Opportunity with its write-back fields."""
    ids = (await wire.admin("POST", "seed", {"opportunities": 3})).body["ids"]
    wire.org.update("Opportunity", ids[0], ERP_Order_Number__c="SO1")
    listed = (await wire.admin("GET", "opportunities")).body
    assert dict.fromkeys(ids) | {ids[0]: "SO1"} == {one["Id"]: one["ERP_Order_Number__c"] for one in listed}


async def test_a_varied_seed_has_realistic_deals(wire: Wire) -> None:
    """Discounts, prices below the list price, a customer's name with a tab; the same seed gives the same deals."""
    ids = (await wire.admin("POST", "seed", {"opportunities": 10, "seed": 4, "varied": True})).body["ids"]
    lines = "(SELECT UnitPrice, ListPrice, Discount, TotalPrice FROM OpportunityLineItems)"
    deals = wire.org.query(f"SELECT Id, Name, Amount, Account.Name, {lines} FROM Opportunity ORDER BY Id")
    priced = [line for deal in deals for line in deal["OpportunityLineItems"]["records"]]

    assert ids == [deal["Id"] for deal in deals]
    assert {1, 4, 7, 10} == {
        n for n, deal in enumerate(deals, 1) if deal["OpportunityLineItems"]["records"][0]["Discount"]
    }
    assert ["Zandstra\tTransport B.V."] * 2 == [deals[n]["Account"]["Name"] for n in (1, 6)]
    assert not any("\t" in deal["Name"] for deal in deals)
    assert any(line["UnitPrice"] < line["ListPrice"] for line in priced)
    for deal in deals:
        shown = sum(line["TotalPrice"] for line in deal["OpportunityLineItems"]["records"])
        assert shown == pytest.approx(deal["Amount"], abs=0.015)


async def test_a_deleted_record_is_restored(wire: Wire) -> None:
    """This is impossible by REST: a record is restored from the recycle bin, once, with its line items."""
    record = wire.org.seed(1)[0]
    before = wire.org.query(f"SELECT Id FROM OpportunityLineItem WHERE OpportunityId = '{record}'")
    await wire.rest("DELETE", f"/sobjects/Opportunity/{record}")
    restored = await wire.admin("POST", "undelete", {"object": "Opportunity", "record": record})

    assert (200, {"id": record}) == restored[:2]
    assert before == wire.org.query(f"SELECT Id FROM OpportunityLineItem WHERE OpportunityId = '{record}'")
    for one in (record, "006000000000001AAA", "006"):
        assert (await wire.admin("POST", "undelete", {"object": "Opportunity", "record": one})).status == 400
    assert (await wire.admin("POST", "undelete", {"object": "Deal__c", "record": record})).status == 400


async def test_a_running_org_is_described_by_its_connection(org: SalesforceEmulator) -> None:
    """The connection has url, ids and credentials, and its errors do not show them in a log."""
    connection = org.connection()
    assert (org.url, org.org_id, org.client_id) == (connection.url, connection.org_id, connection.client_id)
