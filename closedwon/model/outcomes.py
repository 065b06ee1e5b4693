"""How an order workflow ended: what it returns, and the part of it that is read later."""

from __future__ import annotations

from pydantic import AwareDatetime

from closedwon.model.base import Frozen
from closedwon.model.erp import ErpOrder
from closedwon.names import OrderStage


class OrderOutcome(Frozen):
    """The result of an order workflow."""

    stage: OrderStage
    order: ErpOrder | None = None
    kept_by_operator: bool = False
    """An operator keeps the order although its record no longer qualifies: sweeps do not ask again."""
    declined: bool = False
    """An operator has decided that there is no order: this proves a status that could have been copied."""


class EndedOrder(Frozen):
    """The order of a workflow that has ended, as far as it matters later."""

    id: str
    modified_at: AwareDatetime | None = None
    """The newest `Order.modified_at` that the ERP kept with the order by then."""


class OrderResult(Frozen):
    """The part of an `OrderOutcome` that is read after its workflow has ended."""

    order: EndedOrder | None = None
    kept_by_operator: bool = False
    """As in `OrderOutcome`."""
    declined: bool = False
    """As in `OrderOutcome`."""
