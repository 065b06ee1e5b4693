"""Checks of what Closedwon reads and writes: the login, limits, events, records, deletions."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from closedwon.certify.check import NotOfferedError, require
from closedwon.certify.org.bench import DEAL, OrgBench, check
from closedwon.errors import ClosedwonError
from closedwon.facts.org_limits import org_limits
from closedwon.model.orders import idempotency_key
from closedwon.salesforce.errors import RecordGoneError

_LIMITS: Final = ("DailyApiRequests", "DailyDeliveredPlatformEvents", "HourlyPublishedPlatformEvents")
_CHANGED_AMOUNT: Final = 200.0


@check(
    "login",
    "The integration user logs in, and the org is that of the settings.",
    "Nothing else can be checked. Correct `orgs.auth`, `orgs.url` and `orgs.id`, and the external client app.",
    is_dangerous=True,
)
async def login(bench: OrgBench) -> str:
    """See `closedwon.salesforce.api.auth`."""
    return await bench.integration.check()


@check(
    "limits",
    "The integration user reads the org's limits on API calls and events.",
    "Closedwon cannot warn before a limit is reached. Give the integration user *View Setup and Configuration*.",
)
async def limits(bench: OrgBench) -> str:
    """See `closedwon.facts.org_limits`."""
    found = {limit.name: limit for limit in await org_limits(bench.integration)}
    lacking = [name for name in _LIMITS if name not in found]
    shown = [found[name] for name in _LIMITS if name in found]
    seen = ", ".join(f"{limit.name} {limit.max - limit.used} of {limit.max}" for limit in shown)
    if lacking and "DailyApiRequests" not in lacking:
        raise NotOfferedError(f"the org shows {seen}, not {', '.join(lacking)}", "No warning before these are used up.")
    require(not lacking, f"the answer has no {', '.join(lacking)}")
    return seen


@check(
    "flow-active",
    "Every flow of the package that the route needs is active.",
    "No deal is notified until a sweep finds it. Activate the flow: *Setup → Flows*. Production deploys flows as "
    "inactive unless *Deploy processes and flows as active* is on.",
)
async def flow_active(bench: OrgBench) -> str:
    """Object Reference, "FlowDefinitionView"."""
    route, names = bench.plan.route, []
    if route.events:
        names.append("Closedwon_Publish_Order_Requested")
    if route.outbound is not None:
        names.append("Closedwon_Send_Order_Requested")
    if route.outbound is not None and route.outbound.tombstone is not None:
        names.append("Closedwon_Send_Record_Deleted")
    listed = ", ".join(f"'{name}'" for name in names)
    elsewhere = "The checks `event` and `outbound` show whether anything notifies."
    if not names:
        raise NotOfferedError("the route has neither events nor outbound messages", elsewhere)
    soql = f"SELECT ApiName, IsActive FROM FlowDefinitionView WHERE ApiName IN ({listed})"  # noqa: S608 - our own names
    try:
        found = await bench.query(soql)
    except ClosedwonError as error:
        raise NotOfferedError(f"the person may not read the list of flows ({error})", elsewhere) from None
    if not found:
        raise NotOfferedError("the org has no flow of the package; perhaps Apex, or a flow of its own", elsewhere)
    inactive = [one["ApiName"] for one in found if not one["IsActive"]]
    require(not inactive, f"not active: {', '.join(inactive)}")
    return f"active: {', '.join(one['ApiName'] for one in found)}"


def _require_events(bench: OrgBench) -> None:
    if not bench.plan.route.events:
        raise NotOfferedError("the route has no `events`", "It is notified by messages or callouts only.")


@check(
    "event",
    "When a person wins a deal, its event reaches the integration user.",
    "Deals of this channel arrive only by sweeps. See `flow-active`; let the integration user read the event.",
)
async def event(bench: OrgBench) -> str:
    """Platform Events Developer Guide, "Publish Behavior"."""
    _require_events(bench)
    async with bench.stream() as stream:
        record = await bench.won_deal()
        began = asyncio.get_running_loop().time()
        found = await bench.event_about(record, stream)
    seconds = asyncio.get_running_loop().time() - began
    return f"the event came {seconds:.1f} s after the deal was won, published by {_publisher(found.payload)}"


def _publisher(payload: dict[str, Any] | None) -> str:
    return str((payload or {}).get("CreatedById") or "a user whom it does not name")


@check(
    "minimal-user",
    "The event comes although the person who wins the deal has no right to publish it.",
    "Deals that ordinary users win are lost until a sweep finds them. The automation publishes in user mode: deploy "
    "the present version of deploy/salesforce, whose Apex publishes in system mode.",
)
async def minimal_user(bench: OrgBench) -> str:
    """Apex Reference Guide, "EventBus": user mode is the default from API 67.0 on."""
    _require_events(bench)
    name = bench.plan.route.events[0].rpartition("/")[2]
    try:
        described: dict[str, Any] = await bench.as_person(lambda one: getattr(one, name).describe()) or {}
    except RecordGoneError:  # to a user without any right on it, the object does not exist
        described = {}
    if described.get("createable"):
        raise NotOfferedError(
            f"the person may publish {name}, so that an event of theirs shows nothing about others",
            f"Run it with the token of a user who wins deals and has no right on {name}, not of an administrator.",
        )
    async with bench.stream() as stream:
        await bench.event_about(await bench.won_deal(), stream)
    return f"the event came, and the person has no right to create {name}"


@check(
    "replay",
    "After a pause, a new subscription continues where the last one ended.",
    "Events of an outage are not read again, and sweeps have to find their deals. Check `orgs.api_version`.",
)
async def replay(bench: OrgBench) -> str:
    """Streaming API Developer Guide, "Message Durability"."""
    _require_events(bench)
    async with bench.stream() as stream:
        record = await bench.won_deal()
        before = await bench.event_about(record, stream)
    await bench.change(record, Amount=_CHANGED_AMOUNT)
    await asyncio.sleep(bench.plan.pause.total_seconds())
    require(before.replay_id, "the event has no replay id")
    async with bench.stream(before.replay_id or "") as stream:
        after = await bench.event_about(record, stream)
    require(after.replay_id != before.replay_id, "the event that was read already came again, and not the next one")
    return f"after {bench.plan.pause.total_seconds():.0f} s the event that was missed came, and nothing before it"


@check(
    "read",
    "The integration user reads a deal of another user, with all fields that the route selects.",
    "Orders need attention instead of being created. Let the user see all deals (sharing, or *View All*) and every "
    "field of `select`.",
)
async def read(bench: OrgBench) -> str:
    """See `routes.select`."""
    record = await bench.deal()
    found = await bench.integration.read(DEAL, bench.plan.route.query_fields, record)
    require(found is not None, "it does not see the deal")
    return f"{len(found or {}) - 1} fields and child queries of the deal"


@check(
    "write-back",
    "The integration user writes number, status, link, error and key to a deal of another user.",
    "Orders are made, and the deal never shows it. Make every field of `write_back` editable for the integration user.",
)
async def write_back(bench: OrgBench) -> str:
    """See `routes.write_back`."""
    record = await bench.won_deal()
    values = {
        "number": f"CERT-{bench.run}",
        "status": "confirmed",
        "link": "https://erp.example.com/orders/1",
        "error": "written by closedwon org certify",
        "key": idempotency_key(bench.plan.org.id, record),
    }
    fields = {field: values[key] for key, field in bench.plan.route.write_back.named()}
    if not fields:
        raise NotOfferedError("the route's `write_back` names no field", "The deal never shows its order.")
    await bench.integration.update(DEAL, record, fields)
    found = await bench.integration.read(DEAL, ", ".join(("Id", *fields)), record) or {}
    unlike = [field for field, value in fields.items() if found.get(field) != value]
    require(not unlike, f"written without an error, but not as it was sent: {', '.join(unlike)}")
    return f"written and read again: {', '.join(fields)}"


@check(
    "deleted",
    "The integration user finds a deal that a person has deleted, by `queryAll`.",
    "Sweeps do not notice deletions, and their orders stay. Give the integration user *View All* on the object, or "
    "let deletions be sent as outbound messages.",
)
async def deleted(bench: OrgBench) -> str:
    """REST API Developer Guide, "QueryAll"."""
    record = await bench.won_deal()
    soql = f"SELECT Id, IsDeleted FROM {DEAL} WHERE Id = '{record}'"  # noqa: S608 - a checked id
    require(await bench.integration.query(soql), "it does not see the deal even before it is deleted; see `read`")
    await bench.delete(DEAL, record)
    found = await bench.integration.query(soql, deleted=True)
    require(found, "it saw the deal before, and does not find it after it was deleted")
    require(found and found[0]["IsDeleted"], "it finds the deal, but not as deleted")
    return "found with IsDeleted = true"


ALL: Final = (login, limits, flow_active, event, minimal_user, replay, read, write_back, deleted)
