"""The order as the ERP has it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, Field, field_validator

from closedwon.model.base import Currency, Frozen
from closedwon.model.commands import _MAXIMUM_TEXT
from closedwon.safe_text import is_web_address


class ErpLimit(Frozen):
    """An ERP that is sent less than it could be: a note for people, beside the limit of its task queue."""

    erp: str
    orders_per_second: float
    """0: it is paused."""
    reason: str
    by: str
    by_breaker: bool = False
    """The workers have set it, because none of them could connect; they take it away, too."""

    @property
    def text(self) -> str:
        """In words."""
        if self.by_breaker:
            return f"ERP {self.erp} cannot be reached"
        return f"ERP {self.erp} " + (
            f"gets at most {self.orders_per_second:g} orders a second" if self.orders_per_second else "is paused"
        )


class ErpStatus(StrEnum):
    """The status of an order in the ERP; the same values for all adapters."""

    DRAFT = "draft"
    QUOTATION = "quotation"
    CONFIRMED = "confirmed"
    PROCESSING = "processing"
    DONE = "done"
    CANCELLED = "cancelled"

    @property
    def exists_as_order(self) -> bool:
        """Whether the ERP has taken the order: every state after confirmed is success."""
        return self in (ErpStatus.CONFIRMED, ErpStatus.PROCESSING, ErpStatus.DONE)


STATUS_NOT_NEEDED: Final = "not needed"
"""The status of a record for which an operator has decided that no order is needed."""


DECLINED_STATUSES: Final = frozenset({ErpStatus.CANCELLED.value, STATUS_NOT_NEEDED})
"""Statuses of records whose order a person has declined: a late message does not order them."""


CANCELLED_UNQUALIFIED: Final = "cancelled, no longer won"
"""The status of a record whose order was cancelled because the record no longer qualified. Unlike `cancelled`, which a
person decided, it does not prevent an order when the deal is won again."""


KEPT_UNQUALIFIED: Final = "kept, no longer won"
"""The status of a record that no longer qualifies and whose order an operator keeps. With the record's own key in the
key field, it overrides the route's policy until the deal is won again."""


ErpNumber = Annotated[Decimal, Field(max_digits=48, decimal_places=30)]
"""At most 18 digits before the point. Without a bound, a few bytes (1E+3000000) would exhaust the memory."""


class ErpLine(Frozen):
    """One product line as the ERP has it. `unit_price` is net."""

    product: str | None
    """The product's code."""
    quantity: ErpNumber
    unit_price: ErpNumber
    total: ErpNumber | None = None
    """For the whole line, as the ERP keeps it. None: `quantity * unit_price`."""
    other_unit: bool = False
    """The quantity is known to be counted in another unit than the product is sold in: two pairs, not two pieces."""

    @property
    def amount(self) -> Decimal:
        """The net total of the line."""
        return self.quantity * self.unit_price if self.total is None else self.total


class Origin(StrEnum):
    """How an ERP order came to bear a record's key; the ERP keeps it beside the key."""

    CREATED = "created"
    """Closedwon made it."""
    ADOPTED = "adopted"
    """It was made by hand; the record named its number and everything agreed."""
    RESOLVED = "resolved"
    """It was made by hand; a person sent `resolve`."""


class ErpOrder(Frozen):
    """An order as the ERP has it. `id` is the ERP's internal handle, `number` what people call it.

    A field that is None is not known, and what is not known never counts as agreeing.
    """

    id: str
    idempotency_key: str | None = None
    """The key that the ERP keeps with this order; None for an order that has none, such as one made by hand.
    An answer to a question by key that does not carry the same key is not believed."""
    number: str | None = Field(max_length=_MAXIMUM_TEXT)
    """It becomes a search attribute: of one above 2 kB Temporal ends the workflow, by force."""
    status: ErpStatus
    currency: Currency
    amount: ErpNumber
    """Net total."""
    line_count: int
    lines: tuple[ErpLine, ...] | None = Field(default=None, exclude=True)
    """Compared with what was sold if the ERP returns them, and never stored in Temporal."""
    url: str | None = None
    customer: str | None = None
    """What the ERP knows the customer by; `Customer.reference` of the order that was asked for, if it is the same."""
    order_date: date | None = None
    """When the order was placed: `Order.order_date` if that was sent, else the day on which it was made in the ERP."""
    reference: str | None = Field(default=None, exclude=True)
    """The customer's own order number that the ERP keeps with it; empty: it keeps none. Like `lines`, never stored."""
    delivery_date: date | Literal[""] | None = Field(default=None, exclude=True)
    """The requested day of delivery that the ERP keeps with it; empty: it keeps none. Never stored."""
    rounding: ErpNumber | None = None
    """The smallest unit in which the ERP keeps amounts of this currency, such as 0.01."""
    origin: Origin | None = None
    """None: not kept. Closedwon then does not count as its maker, so that no policy changes or cancels the order."""
    modified_at: AwareDatetime | None = None
    """The newest `Order.modified_at` that was sent to the ERP for this order."""
    version: str | None = None
    """Changes with each change of the order in the ERP; a write that names an older one is refused."""

    @field_validator("idempotency_key", "number", "url", "customer", "version", mode="before")
    @classmethod
    def _blank_is_none(cls, value: Any) -> Any:
        """Many ERPs keep an empty text where there is none."""
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("url")
    @classmethod
    def _only_of_the_web(cls, url: str | None) -> str | None:
        """People click on it, in Salesforce and in Temporal's UI: another kind of address counts as none."""
        return url if url is not None and is_web_address(url) else None
