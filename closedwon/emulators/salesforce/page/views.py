"""What the org's page shows, read from the org's store: deals, bus, queue, faults. Changes nothing.

Amounts and times are texts, ready to be shown. Times are those of the org's clock, in UTC.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from closedwon.emulators.salesforce.bus.eventbus import BusEvent
from closedwon.emulators.salesforce.config import CalloutDefinition
from closedwon.emulators.salesforce.org import EmulatedOrg
from closedwon.ids import InvalidIdError, RecordId

_OPEN_SHOWN: Final = 5
"""Open deals that are shown: those that are won next."""
_OTHERS_SHOWN: Final = 20
_EVENTS_SHOWN: Final = 12
_QUEUE_SHOWN: Final = 20
_CALLS_SHOWN: Final = 6
_DEALS: Final = (
    "SELECT o.*, a.Name AS AccountName FROM Opportunity o LEFT JOIN Account a ON a.Id = o.AccountId "
    "WHERE o.IsDeleted = 0"
)
_WAITS: Final = "(o.IsWon AND o.ERP_Order_Number__c IS NULL AND o.ERP_Order_Status__c IS NULL)"
_COUNTS: Final = (
    "SELECT count(*) AS all_deals, total(NOT IsClosed) AS open, total(IsWon) AS won, "
    "total(IsWon AND ERP_Order_Number__c IS NOT NULL) AS numbered, "
    "total(ERP_Order_Error__c IS NOT NULL) AS wrong FROM Opportunity WHERE IsDeleted = 0"
)
_OFF: Final[Mapping[str, Any]] = {"times": 0, "on": False, "seconds": 0, "milliseconds": 0, "records": 0}
"""The value of a fault's argument that turns the fault off."""


class Look(NamedTuple):
    """A status as a sign, a text and a class of the style."""

    sign: str
    text: str
    style: str


class Deal(NamedTuple):
    """An Opportunity as it is shown."""

    id: str
    name: str
    account_id: str
    account: str
    stage: str
    amount: str
    close_date: str
    is_won: bool
    is_closed: bool
    number: str
    key: str
    link: str
    error: str
    look: Look


class Line(NamedTuple):
    """A line item as it is shown; the numbers as a form takes them."""

    id: str
    product: str
    quantity: str
    price: str
    discount: str
    total: str


class Event(NamedTuple):
    """An event of the bus. `readers` are the short ids of subscribers that have read up to it."""

    replay_id: int
    time: str
    name: str
    record: str
    deal: str
    readers: str


class FaultForm(NamedTuple):
    """A fault with the inputs of its form; `off` are the arguments that turn it off, None if only `clear` does."""

    name: str
    explanation: str
    inputs: list[tuple[str, str]]
    is_switch: bool
    off: dict[str, Any] | None


def live(org: EmulatedOrg) -> dict[str, Any]:
    """Everything on the org's page that changes by itself."""
    counts = org.store.select(_COUNTS)[0]
    return {
        "counts": {name: round(counts[name]) for name in counts.keys()},  # noqa: SIM118 - a row of SQLite
        "deals": _shown_deals(org),
        "events": _events(org),
        "last_replay_id": org.bus.last_replay_id(),
        "subscribers": [
            {"id": _short(one.client_id), "is_waiting": one.poll is not None, "positions": dict(one.positions)}
            for one in org.cometd.clients.values()
        ],
        "queue": _queue(org),
        "calls_total": f"{org.api_calls.total():,}",
        "calls_limit": f"{org.config.daily_api_requests:,}",
        "calls": org.api_calls.most_common(_CALLS_SHOWN),
        "armed": {name.replace("_", " "): value for name, value in org.faults.armed().items() if value},
    }


def deal(org: EmulatedOrg, record: str) -> dict[str, Any] | None:
    """Everything about one deal, or None if there is none; a deleted one is in the recycle bin."""
    try:
        row = org.store.get("Opportunity", RecordId(record))
    except InvalidIdError:
        return None
    if row is None:
        return None
    account = org.store.get("Account", str(row["AccountId"])) or {}
    shown = _deal({**row, "AccountName": account.get("Name")})
    accounts = org.store.select("SELECT Id, Name FROM Account WHERE IsDeleted = 0 ORDER BY Name, Id")
    return {
        "deal": shown,
        "is_deleted": bool(row["IsDeleted"]),
        "lines": lines(org, shown.id),
        "accounts": [(one["Id"], one["Name"]) for one in accounts],
    }


def lines(org: EmulatedOrg, record: str) -> list[Line]:
    """The line items of a deal."""
    sql = (
        "SELECT l.*, p.Name AS ProductName FROM OpportunityLineItem l LEFT JOIN Product2 p ON p.Id = l.Product2Id "
        "WHERE l.OpportunityId = ? ORDER BY l.Id"
    )
    return [
        Line(
            id=row["Id"],
            product=f"{row['ProductCode'] or ''} {row['ProductName'] or ''}".strip(),
            quantity=_plain(row["Quantity"]),
            price=_plain(row["UnitPrice"]),
            discount=_plain(row["Discount"]),
            total=_amount(row["TotalPrice"], row.get("CurrencyIsoCode")),
        )
        for row in map(dict, org.store.select(sql, (record,)))
    ]


def fault_forms(faults: Mapping[str, Callable[..., Any]]) -> list[FaultForm]:
    """The faults by name, each with its form; `clear` has a button of its own."""
    return [_form(name, fault) for name, fault in sorted(faults.items()) if name != "clear"]


def _shown_deals(org: EmulatedOrg) -> list[Deal]:
    """Those that are won next, then those that wait for their order, then the others, the last changed first."""
    coming = org.store.select(f"{_DEALS} AND NOT o.IsClosed ORDER BY o.Id LIMIT {_OPEN_SHOWN}")
    last = f"ORDER BY o.SystemModstamp DESC, o.Id DESC LIMIT {_OTHERS_SHOWN}"
    waiting = org.store.select(f"{_DEALS} AND {_WAITS} {last}")
    others = org.store.select(f"{_DEALS} AND o.IsClosed AND NOT {_WAITS} {last}")
    return [_deal(dict(row)) for row in (*coming, *waiting, *others)]


def _deal(row: Mapping[str, Any]) -> Deal:
    return Deal(
        id=row["Id"],
        name=row["Name"],
        account_id=row["AccountId"] or "",
        account=row["AccountName"] or "",
        stage=row["StageName"],
        amount=_amount(row["Amount"], row.get("CurrencyIsoCode")),
        close_date=row["CloseDate"] or "",
        is_won=bool(row["IsWon"]),
        is_closed=bool(row["IsClosed"]),
        number=row["ERP_Order_Number__c"] or "",
        key=row["ERP_Order_Key__c"] or "",
        link=row["ERP_Order_Link__c"] or "",
        error=row["ERP_Order_Error__c"] or "",
        look=_look(row),
    )


def _look(row: Mapping[str, Any]) -> Look:
    """What has become of a deal, by its own fields."""
    status = row["ERP_Order_Status__c"] or ""
    if row["ERP_Order_Error__c"]:
        return Look("▲", status or "error", "bad")
    if row["IsWon"] and not row["ERP_Order_Number__c"] and not status:
        return Look("…", "waits for its order", "busy")
    if row["IsWon"] and row["ERP_Order_Number__c"]:
        return Look("✔", status or "ordered", "good")
    return Look("·", status, "soft") if status else Look("", "", "soft")


def _events(org: EmulatedOrg) -> list[Event]:
    rows = org.store.select(f"SELECT * FROM event ORDER BY replay_id DESC LIMIT {_EVENTS_SHOWN}")  # noqa: S608 - a constant
    return [_event(org, BusEvent(row["replay_id"], row["channel"], json.loads(row["data"])), row) for row in rows]


def _event(org: EmulatedOrg, event: BusEvent, row: Any) -> Event:
    payload = event.data.get("payload")
    values = payload.values() if isinstance(payload, dict) else ()
    records = [value for value in values if isinstance(value, str) and value.startswith("006")]
    found = org.store.get("Opportunity", records[0]) if records else None
    readers = (
        _short(one.client_id)
        for one in org.cometd.clients.values()
        if one.positions.get(event.channel, -1) >= event.replay_id
    )
    return Event(
        replay_id=event.replay_id,
        time=_time(row["created_ms"]),
        name=event.channel.removeprefix("/event/"),
        record=records[0] if found else "",
        deal=str(found["Name"]) if found else "",
        readers=", ".join(readers),
    )


def _queue(org: EmulatedOrg) -> dict[str, Any]:
    queued = org.outbox.queued()
    shown = [
        one._asdict()
        | {
            "queued": _time(one.queued_ms),
            "next": _time(one.next_ms),
            "kind": "callout" if isinstance(org.outbox.definition(one.definition), CalloutDefinition) else "message",
        }
        for one in queued
    ]
    failed = [one for one in shown if one["failed"]]
    waiting = [one for one in shown if not one["failed"]]
    return {
        "definitions": [
            {"name": one.name, "endpoint": one.endpoint, "kind": one.kind} for one in org.outbox.definitions()
        ],
        "sent": org.outbox.sent,
        "waiting": waiting[:_QUEUE_SHOWN],
        "waiting_count": len(waiting),
        "failed": failed[:_QUEUE_SHOWN],
        "failed_count": len(failed),
    }


def _form(name: str, fault: Callable[..., Any]) -> FaultForm:
    parameters = inspect.signature(fault).parameters
    required = any(one.default is inspect.Parameter.empty for one in parameters.values())
    offs = {key: value for key, value in _OFF.items() if key in parameters}
    return FaultForm(
        name=name,
        explanation=" ".join((inspect.getdoc(fault) or "").replace("`", "").split()),
        inputs=[
            (key, "" if one.default in {inspect.Parameter.empty, None} else str(one.default))
            for key, one in parameters.items()
            if key != "on"
        ],
        is_switch="on" in parameters,
        off=offs if offs and not required else None,
    )


def _short(client_id: str) -> str:
    return client_id[:6]


def _time(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%H:%M:%S}"


def _plain(number: float | None) -> str:
    return "" if number is None else f"{number:.10g}"


def _amount(number: float | None, currency: str | None) -> str:
    return "" if number is None else f"{number:,.2f} {currency or ''}".strip()
