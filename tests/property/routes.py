"""The routes of the world: over which object, with which policies and source, with or without the key field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.property.oracle import Policies

ERPS = ("north", "south")
KEY_FIELD = "ERP_Order_Key__c"
LINES = "(SELECT Product2.ProductCode, Quantity, UnitPrice, Discount, TotalPrice FROM OpportunityLineItems)"


@dataclass(frozen=True)
class Shape:
    """How deals of an object look in the org, and what of it is read."""

    object: str
    won: dict[str, Any]
    open: dict[str, Any]
    customer: str
    amount: str
    fields: str
    mapping: dict[str, str]
    """Settings of `routes.order` and below, by dotted key."""
    where: str
    """That it is won, in SOQL."""
    qualify: str
    """The same in JMESPath."""
    is_flat: bool = False
    """The record is its own one line."""
    always: dict[str, Any] = field(default_factory=dict)
    """What every new record has."""

    @property
    def select(self) -> str:
        """The SELECT list."""
        return self.fields if self.is_flat else f"{self.fields}, {LINES}"


_ITSELF = {
    "lines.each": "[@]",
    "lines.product": "Product__c",
    "lines.quantity": "Quantity__c",
    "lines.unit_price": "Price__c",
}
_OPPORTUNITY = {"name": "Name", "currency": "CurrencyIsoCode", "order_date": "CloseDate", "total": "Amount"}
_CHILDREN = {
    "lines.each": "OpportunityLineItems.records",
    "lines.product": "Product2.ProductCode",
    "lines.quantity": "Quantity",
}
_WITH_LINES = Shape(
    object="Opportunity",
    won={"StageName": "Closed Won"},
    open={"StageName": "Negotiation/Review"},
    customer="AccountId",
    amount="Amount",
    fields="Id, Name, IsWon, Amount, CloseDate, CurrencyIsoCode, Route__c, Erp__c, CreatedDate, SystemModstamp, "
    "Account.Id, Account.Name",
    mapping=_OPPORTUNITY | _CHILDREN | {"customer.id": "Account.Id", "customer.name": "Account.Name"},
    where="IsWon = TRUE",
    qualify="IsWon",
    always={"CurrencyIsoCode": "EUR"},
)
_DISCOUNTED = {"lines.unit_price": "UnitPrice", "lines.discount": "Discount"}
_BY_TOTAL = {"lines.total": "TotalPrice"}
_FLAT = Shape(
    object="Opportunity",
    won=_WITH_LINES.won,
    open=_WITH_LINES.open,
    customer="AccountId",
    amount="Amount",
    fields="Id, Name, IsWon, Amount, CloseDate, CurrencyIsoCode, Route__c, CreatedDate, SystemModstamp, AccountId, "
    "Product__c, Quantity__c, Price__c",
    mapping=_OPPORTUNITY | _ITSELF | {"customer.id": "AccountId", "customer.name": "Name"},
    where="IsWon = TRUE",
    qualify="to_string(IsWon) == 'true'",  # an outbound message holds texts
    is_flat=True,
    always={"CurrencyIsoCode": "EUR"},
)
_CUSTOM = Shape(
    object="Deleted_Record__c",  # the emulator's only custom object; nothing is deleted here
    won={"Won__c": True},
    open={"Won__c": False},
    customer="Customer__c",
    amount="Amount__c",
    fields="Id, Object__c, Won__c, Amount__c, Route__c, Customer__c, CreatedDate, SystemModstamp, "
    "Product__c, Quantity__c, Price__c",
    mapping=_ITSELF
    | {
        "name": "Object__c",
        "currency": "'EUR'",
        "order_date": "CreatedDate",
        "total": "Amount__c",
        "customer.id": "Customer__c",
        "customer.name": "Object__c",
    },
    where="Won__c = TRUE",
    qualify="Won__c",
    is_flat=True,
    always={"Record_Id__c": "any"},
)
SHAPES = (_WITH_LINES, _FLAT, _CUSTOM)
OBJECTS = ("Opportunity", "Deleted_Record__c")


@dataclass(frozen=True)
class RouteOfTheWorld:
    """One route."""

    name: str
    policies: Policies
    erp: str | None
    """None: the record picks it."""
    shape: Shape = _WITH_LINES
    prices: dict[str, str] = field(default_factory=lambda: _DISCOUNTED)
    """How its mapping reads what a line costs, where there are lines."""
    by_event: bool = False
    """Its orders are made of the messages."""
    push: str | None = None
    """How notifications arrive, where not by an event: `callouts` or `outbound`."""
    has_key_field: bool = True

    @property
    def event(self) -> str:
        """The platform event that only this route reads."""
        return f"Deal_{self.name}__e"

    @property
    def mapping(self) -> dict[str, str]:
        """How a record becomes an order, by dotted key."""
        return self.shape.mapping | ({} if self.shape.is_flat else self.prices)


_CANCEL, _ASK, _IGNORE = ("cancel", "cancel"), ("attention", "attention"), ("ignore", "ignore")
ROUTES = (
    RouteOfTheWorld("amends", Policies(*_CANCEL, "amend"), "north"),
    RouteOfTheWorld("asks", Policies(*_ASK, "attention"), "north", prices=_BY_TOTAL, has_key_field=False),
    RouteOfTheWorld("ignores", Policies(*_IGNORE, "ignore"), "south", prices=_DISCOUNTED | _BY_TOTAL),
    RouteOfTheWorld("picks", Policies("cancel", "attention", "amend"), None),
    RouteOfTheWorld("custom", Policies(*_CANCEL, "amend"), "south", shape=_CUSTOM),
    RouteOfTheWorld("called", Policies(*_CANCEL, "amend"), "north", by_event=True, push="callouts"),
    RouteOfTheWorld("pushed", Policies(*_CANCEL, "attention"), "south", shape=_FLAT, by_event=True, push="outbound"),
)
