"""The order as the record asks for it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from pydantic import AwareDatetime, Field

from closedwon.ids import OrgId, RecordId
from closedwon.model.base import Currency, Frozen


class Customer(Frozen):
    """Who buys: the Salesforce Account, as the ERP's party needs it."""

    id: RecordId
    number: str | None = None
    """The number of a customer that the ERP has already; such a customer is never created."""
    name: str = Field(min_length=1)
    street: str | None = None
    city: str | None = None
    postal_code: str | None = None
    country: str | None = None
    """ISO 3166-1 alpha-2 code."""

    @property
    def reference(self) -> str:
        """What the ERP knows the customer by; `ErpOrder.customer` is compared with it."""
        return self.number or self.id


class OrderLine(Frozen):
    """One product sold. Prices and totals are net, in the order's currency."""

    product: str = Field(min_length=1)
    quantity: Decimal
    unit_price: Decimal
    """After the discount. Where `total` is set and cannot be divided exactly, this is rounded and `total` counts."""
    list_price: Decimal | None = None
    """For one unit, before the discount; None where the line has none."""
    discount_percent: Decimal | None = None
    """0 to 100."""
    total: Decimal | None = None
    """For the whole line, after the discount, as it was signed. None: `quantity * unit_price`."""
    description: str | None = None
    extra: dict[str, str] = Field(default_factory=dict)
    """Free fields that the adapter passes on under these names."""

    @property
    def amount(self) -> Decimal:
        """The net total of the line."""
        return self.quantity * self.unit_price if self.total is None else self.total


def idempotency_key(org: OrgId, record: RecordId) -> str:
    """`<org id>:<record id>`: names a record's one order in every ERP."""
    return f"{org}:{record}"


def parse_idempotency_key(key: str) -> tuple[OrgId, RecordId]:
    """Invert `idempotency_key`, also with 15-character ids. Raises `InvalidIdError` for any other text."""
    org, _, record = key.partition(":")
    return OrgId(org), RecordId(record)


class Order(Frozen):
    """What the ERP is asked to create."""

    org: OrgId
    record: RecordId
    name: str
    customer: Customer
    currency: Currency
    lines: tuple[OrderLine, ...] = Field(min_length=1)
    total: Decimal | None = None
    """The net total that was signed, as the record says; the sum of the lines must agree. None: not known."""
    reference: str | None = None
    """The customer's own order number."""
    order_date: date | None = None
    delivery_date: date | None = None
    extra: dict[str, str] = Field(default_factory=dict)
    """Free fields that the adapter passes on under these names."""
    created_at: AwareDatetime | None = None
    """When the record was created in Salesforce; an ERP order from before that day is not this record's."""
    modified_at: AwareDatetime | None = None
    """When the content was true in Salesforce: the record's SystemModstamp, or the event's time."""

    @property
    def idempotency_key(self) -> str:
        """`<org id>:<record id>`, stored in the ERP under a unique constraint."""
        return idempotency_key(self.org, self.record)

    @property
    def content(self) -> Order:
        """The order without the time at which it was true: what two readings of an unchanged record have in common."""
        return self.model_copy(update={"modified_at": None})

    @property
    def amount(self) -> Decimal:
        """The net total in `currency`."""
        return sum((line.amount for line in self.lines), Decimal(0))


class OrderHead(Frozen):
    """What a record says of its order without its lines: those of a deleted record are deleted with it."""

    customer: str
    """As `Customer.reference`."""
    currency: Currency
    total: Decimal | None = None
    created_at: AwareDatetime | None = None
