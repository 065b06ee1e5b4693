"""What can go wrong with the stub ERP on demand: outages, lost and late effects, wrong answers, things left out."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field


class Lie(StrEnum):
    """One named way of answering wrongly: `<call>-<what is wrong with the answer>`.

    A call whose answer is about another order (`other`) has no effect; with all others it is carried out. Without
    another order in the ERP there is nothing to lie with, and the answer is right.
    """

    FIND_OTHER = "find-other"
    """The filter is forgotten: the answer has the first order that there is."""
    FIND_STALE = "find-stale"
    """A cache answers: with the answer to the first look-up after the lie was armed, whatever is asked."""
    FIND_TWO = "find-two"
    FIND_NO_KEY = "find-no-key"
    FIND_OTHER_KEY = "find-other-key"
    FIND_STAMPED = "find-stamped"
    """Another order, to which the key was added that was asked for."""
    FIND_LIST = "find-list"
    """A list where an object is expected."""
    FIND_OBJECT = "find-object"
    """An object where a list is expected."""
    FIND_NULL = "find-null"
    CREATE_OTHER = "create-other"
    CREATE_NO_KEY = "create-no-key"
    CREATE_OTHER_KEY = "create-other-key"
    CREATE_STAMPED = "create-stamped"
    """The order was made, and the answer has the content of another one under its key."""
    CREATE_CANCELLED = "create-cancelled"
    CREATE_LIST = "create-list"
    CONFIRM_OTHER = "confirm-other"
    CONFIRM_NO_KEY = "confirm-no-key"
    CONFIRM_OTHER_KEY = "confirm-other-key"
    CANCEL_OTHER = "cancel-other"
    CANCEL_OTHER_KEY = "cancel-other-key"
    CANCEL_UNMOVED = "cancel-unmoved"
    """200, and the order is as it was."""
    AMEND_OTHER = "amend-other"
    AMEND_NO_KEY = "amend-no-key"
    NUMBER_OTHER = "number-other"
    NUMBER_EMPTY = "number-empty"
    """An unknown parameter is passed over: an empty list, without the number that was asked for."""
    CLAIM_OTHER = "claim-other"
    CLAIM_OTHER_KEY = "claim-other-key"
    MANY_OTHER = "many-other"
    LISTING_OTHER = "listing-other"

    @property
    def call(self) -> str:
        """Which call it is about."""
        return self.value.partition("-")[0]

    @property
    def twist(self) -> str:
        """What is wrong with the answer."""
        return self.value.partition("-")[2]

    def answer(self, honest: _Body, other: _Body, key: str | None) -> Any:
        """Make the wrong answer of the right one and of another order; `key` is what was asked for."""
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
"""By twist: what becomes of one order in an answer, of another order, and of the key that was asked for."""
_WITH_ORDERS: Final[dict[str, Callable[[_Body, list[_Body], _Body], Any]]] = {
    "two": lambda body, shown, other: body | {"orders": [*shown, other]},
    "list": lambda _, shown, __: shown,
    "object": lambda body, _, __: body | {"orders": {}},
    "null": lambda body, _, __: body | {"orders": None},
    "empty": lambda _, __, ___: {"orders": []},
    "other": lambda body, _, other: body | {"orders": [other]},
}
"""By twist: what becomes of a whole list of orders, where that is not made of its first order."""


Optional = Literal["customer", "lines", "modified_at", "order_date", "origin", "rounding", "url", "version"]


class Faults(BaseModel):
    """What goes wrong next. Counters count down to 0; the rest holds until it is changed."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    down: bool = False
    """Every connection is cut without an answer and without an effect."""
    slow: float = Field(default=0, ge=0)
    """Seconds that every call takes longer, before anything happens."""
    late: float = Field(default=0, ge=0)
    """Seconds until a new order is committed, whether the caller still waits for it or not."""
    hold: int = Field(default=0, ge=0)
    """So many writes are cut at once and take effect `hold_for` seconds later: late effects of any write."""
    hold_only: Literal["create", "confirm", "amend", "cancel", "claim"] | None = None
    """Hold writes of this kind only."""
    hold_for: float = Field(default=1, ge=0)
    """Seconds; lowering it releases what is held."""
    busy: int = Field(default=0, ge=0)
    """So many calls answer 503 without an effect."""
    retry_after: int | None = 1
    """Seconds in the `Retry-After` of a busy answer; null sends none."""
    reject: int = Field(default=0, ge=0)
    """So many orders are refused with 422."""
    unknown_products: frozenset[str] = frozenset()
    """Orders with one of these products are refused with 422 `unknown-product`."""
    no_claims: bool = False
    """Neither claims nor look-ups by number are offered, as by a facade that leaves both out."""
    no_number_lookup: bool = False
    """Look-ups by number are not offered."""
    no_versions: bool = False
    """No order has a version, and `If-Match` is ignored."""
    no_customer: bool = False
    """No answer says who the customer is."""
    leaves_out: frozenset[Optional] = frozenset()
    """Fields that no order in an answer has."""
    rounding: dict[str, Decimal] = Field(default_factory=dict)
    """The smallest unit of a currency, where it is not 0.01."""
    lose_reply: int = Field(default=0, ge=0)
    """So many writes are committed and then answered with a cut connection."""
    lose_reply_probability: float = Field(default=0, ge=0, le=1)
    """The same, by chance, for every write."""
    lie: Lie | None = None
    """Answer wrongly in this one way, until it is changed."""

    def take(self, counter: str) -> bool:
        """Use up one of `counter`; false when none is left."""
        left = int(getattr(self, counter))
        if left:
            setattr(self, counter, left - 1)
        return left > 0

    def leaves(self, field: str) -> bool:
        """Whether orders in answers lack the field."""
        return (
            field in self.leaves_out
            or (field == "version" and self.no_versions)
            or (field == "customer" and self.no_customer)
        )
