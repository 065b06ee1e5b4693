"""Faults of the stub ERP on demand: outages, lost and late effects, wrong responses, missing parts."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field


class Lie(StrEnum):
    """One kind of wrong response, named `<call>-<what is wrong>`.

    With `other` (a response about another order) the call has no effect; with all others it is carried out. If the ERP
    has no other order, the response is right.
    """

    FIND_OTHER = "find-other"
    """The filter is ignored: the response has the first order of the ERP."""
    FIND_STALE = "find-stale"
    """A cache responds: every look-up gets the response to the first one after the fault was armed."""
    FIND_TWO = "find-two"
    FIND_NO_KEY = "find-no-key"
    FIND_OTHER_KEY = "find-other-key"
    FIND_STAMPED = "find-stamped"
    """Another order, with the key of the request."""
    FIND_LIST = "find-list"
    """A list where an object is expected."""
    FIND_OBJECT = "find-object"
    """An object where a list is expected."""
    FIND_NULL = "find-null"
    CREATE_OTHER = "create-other"
    CREATE_NO_KEY = "create-no-key"
    CREATE_OTHER_KEY = "create-other-key"
    CREATE_STAMPED = "create-stamped"
    """The order was created, but the response has the content of another one under its key."""
    CREATE_CANCELLED = "create-cancelled"
    CREATE_LIST = "create-list"
    CONFIRM_OTHER = "confirm-other"
    CONFIRM_NO_KEY = "confirm-no-key"
    CONFIRM_OTHER_KEY = "confirm-other-key"
    CANCEL_OTHER = "cancel-other"
    CANCEL_OTHER_KEY = "cancel-other-key"
    CANCEL_UNMOVED = "cancel-unmoved"
    """200, but the order is unchanged."""
    AMEND_OTHER = "amend-other"
    AMEND_NO_KEY = "amend-no-key"
    NUMBER_OTHER = "number-other"
    NUMBER_EMPTY = "number-empty"
    """An unknown parameter is ignored: an empty list, without the number of the request."""
    CLAIM_OTHER = "claim-other"
    CLAIM_OTHER_KEY = "claim-other-key"
    MANY_OTHER = "many-other"
    LISTING_OTHER = "listing-other"

    @property
    def call(self) -> str:
        """The call whose response is wrong."""
        return self.value.partition("-")[0]

    @property
    def twist(self) -> str:
        """What is wrong with the response."""
        return self.value.partition("-")[2]

    def answer(self, honest: _Body, other: _Body, key: str | None) -> Any:
        """Build the wrong response from the right one and another order. `key` is that of the request."""
        if "orders" not in honest:
            return _WITH_AN_ORDER[self.twist](honest, other, key)
        shown = honest["orders"][:1] or [other]
        if change := _WITH_ORDERS.get(self.twist):
            return change(honest, shown, other)
        return honest | {"orders": [_WITH_AN_ORDER[self.twist](order, other, key) for order in shown]}


_Body = dict[str, Any]
_WITH_AN_ORDER: Final[dict[str, Callable[[_Body, _Body, str | None], Any]]] = {
    "no-key": lambda order, _, __: {name: value for name, value in order.items() if name != "idempotency_key"},
    "other-key": lambda order, other, _: order | {"idempotency_key": other["idempotency_key"]},
    "stamped": lambda order, other, key: other | {"idempotency_key": key, "id": order["id"]},
    "cancelled": lambda order, _, __: order | {"status": "cancelled"},
    "list": lambda order, _, __: [order],
    "unmoved": lambda order, _, __: order,
    "other": lambda _, other, __: other,
}
"""By twist: a function of one order of the response, another order, and the key of the request."""
_WITH_ORDERS: Final[dict[str, Callable[[_Body, list[_Body], _Body], Any]]] = {
    "two": lambda body, shown, other: body | {"orders": [*shown, other]},
    "list": lambda _, shown, __: shown,
    "object": lambda body, _, __: body | {"orders": {}},
    "null": lambda body, _, __: body | {"orders": None},
    "empty": lambda _, __, ___: {"orders": []},
    "other": lambda body, _, other: body | {"orders": [other]},
}
"""By twist: a function of the whole response, for those that do not only change each order."""


Optional = Literal[
    "customer",
    "delivery_date",
    "lines",
    "modified_at",
    "order_date",
    "origin",
    "reference",
    "rounding",
    "url",
    "version",
]


class ErpFaults(BaseModel):
    """The armed faults. Counters count down to 0; the others apply until they are changed."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    down: bool = False
    """Every connection is dropped without a response and without an effect."""
    slow: float = Field(default=0, ge=0)
    """Delay in seconds before every call is processed."""
    late: float = Field(default=0, ge=0)
    """Delay in seconds before a new order is committed, even if the caller no longer waits."""
    hold: int = Field(default=0, ge=0)
    """The next so many writes are dropped at once and take effect `hold_for` seconds later."""
    hold_only: Literal["create", "confirm", "amend", "cancel", "claim"] | None = None
    """Hold only writes of this kind."""
    hold_for: float = Field(default=1, ge=0)
    """Seconds. Lowering it releases held writes."""
    busy: int = Field(default=0, ge=0)
    """The response to the next so many calls is 503, without an effect."""
    retry_after: int | None = 1
    """Seconds in the `Retry-After` of a busy response; null omits the header."""
    reject: int = Field(default=0, ge=0)
    """The next so many orders are refused with 422."""
    unknown_products: frozenset[str] = frozenset()
    """Orders with one of these products are refused with 422 `unknown-product`."""
    no_claims: bool = False
    """Neither claims nor look-ups by number exist, as in a facade without them."""
    no_number_lookup: bool = False
    """Look-ups by number do not exist."""
    no_versions: bool = False
    """No order has a version, and `If-Match` is ignored."""
    no_customer: bool = False
    """No response names the customer."""
    leaves_out: frozenset[Optional] = frozenset()
    """Fields that are missing in every order of a response."""
    rounding: dict[str, Decimal] = Field(default_factory=dict)
    """The smallest unit of a currency, if it is not 0.01."""
    lose_reply: int = Field(default=0, ge=0)
    """The next so many writes are committed, and then the connection is dropped."""
    lose_reply_probability: float = Field(default=0, ge=0, le=1)
    """The probability of the same for every write."""
    lie: Lie | None = None
    """Respond wrongly in this way, until it is changed."""

    def take(self, counter: str) -> bool:
        """Decrement `counter`. Return False if it was 0."""
        left = int(getattr(self, counter))
        if left:
            setattr(self, counter, left - 1)
        return left > 0

    def leaves(self, field: str) -> bool:
        """Whether orders in responses lack the field."""
        return (
            field in self.leaves_out
            or (field == "version" and self.no_versions)
            or (field == "customer" and self.no_customer)
        )
