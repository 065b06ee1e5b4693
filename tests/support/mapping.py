"""The example's route, changed as a test needs it, and records as Salesforce's REST API returns them.

For tests of pure decisions: no file, no secret, no server.
"""

from __future__ import annotations

import tomllib
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from closedwon.ids import OrgId, RecordId
from closedwon.mapping.record import Record
from closedwon.model.orders import Order, OrderLine, idempotency_key
from closedwon.settings import Route

EXAMPLE: Final = Path(__file__).parents[2] / "closedwon.example.toml"
ORG: Final = OrgId("00D5g000004Kx1X")
RECORD: Final = RecordId("0065g00000AbCdE")
OTHER_RECORD: Final = RecordId("0065g00000AbCdF")
KEY: Final = idempotency_key(ORG, RECORD)
OTHER_KEY: Final = idempotency_key(ORG, OTHER_RECORD)

Fields = dict[str, Any]


def example_route(*changes: tuple[str, str]) -> Route:
    """Make the example's route, with texts of the file replaced."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return Route.model_validate(tomllib.loads(text)["routes"][0])


def line(quantity: Any = 2, price: Any = 100, **fields: Any) -> Fields:
    """One OpportunityLineItem."""
    names = {"Product2": {"ProductCode": "GC1040"}, "Quantity": quantity, "UnitPrice": price}
    return {**names, "Discount": None, "TotalPrice": None, "Description": None, **fields}


def amount_of(*lines: Fields) -> Decimal | None:
    """What Salesforce sums up for a deal; None where a test gives a line that Salesforce would not have."""
    try:
        return sum(map(_total_of, lines), Decimal(0))
    except (TypeError, InvalidOperation):
        return None


def _total_of(line: Fields) -> Decimal:
    if line["TotalPrice"] is not None:
        return Decimal(str(line["TotalPrice"]))
    quantity, price, discount = (Decimal(str(line[name] or 0)) for name in ("Quantity", "UnitPrice", "Discount"))
    return quantity * price * (100 - discount) / 100


def deal(*lines: Fields, **fields: Any) -> Fields:
    """A won Opportunity with its true total; one line of 200.00 unless a test says otherwise."""
    lines = lines or (line(),)
    return {
        "attributes": {"type": "Opportunity"},
        "Id": RECORD,
        "Name": "Roof for Acme",
        "StageName": "Closed Won",
        "IsWon": True,
        "CloseDate": "2026-11-03",
        "CreatedDate": "2026-10-01T08:00:00.000+0000",
        "SystemModstamp": "2026-11-03T09:00:00.000+0000",
        "Amount": amount_of(*lines),
        "CurrencyIsoCode": "EUR",
        "PO_Number__c": None,
        "Account": {"Id": "0015g00000AbCdEAAV", "Name": "Acme"},
        "OpportunityLineItems": {"totalSize": len(lines), "done": True, "records": [*lines]},
        "ERP_Order_Number__c": None,
        "ERP_Order_Status__c": None,
        "ERP_Order_Link__c": None,
        "ERP_Order_Error__c": None,
        "ERP_Order_Key__c": None,
        **fields,
    }


def record_of(fields: Fields, route: Route | None = None) -> Record:
    """Open a record of the example's route, or of another one."""
    return Record(route or example_route(), ORG, RECORD, fields)


def order_of(*lines: Fields, route: Route | None = None, **fields: Any) -> Order:
    """Map a won deal."""
    return record_of(deal(*lines, **fields), route).order()


def line_of(one: Fields, route: Route | None = None, **fields: Any) -> OrderLine:
    """Map a won deal of one line."""
    (found,) = order_of(one, route=route, **fields).lines
    return found
