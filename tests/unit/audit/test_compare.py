"""Comparing the three systems, case by case."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from closedwon.audit.compare import (
    AuditedWorkflow,
    Facts,
    FindingKind,
)
from closedwon.ids import RecordId
from closedwon.mapping.write_back import Proof
from closedwon.model.erp import CANCELLED_UNQUALIFIED, ErpStatus, Origin
from closedwon.model.orders import Order, OrderHead
from closedwon.names import OrderStage, RecordKey
from tests.unit.audit.cases import (
    CANCELLED,
    EARLY,
    KEY,
    LATE,
    NOON,
    OPEN,
    deal,
    ended,
    facts_of,
    flow,
    kinds,
    order,
    sold,
    then,
)

UNPROVEN = {"number": None, "proof": Proof.NONE}


COPY = {"number": None, "status": None, "proof": Proof.OTHER}


ACCOUNT = "001000000000001AAA"


def after(cancelled: AuditedWorkflow) -> AuditedWorkflow:
    """A newer workflow, which found nothing to do, after one that has ended so."""
    return flow(OrderStage.NOT_NEEDED, number=None, cancelled_before=cancelled)


def asks(total: str | None = None, *, line: str = "50.00", created_at: datetime | None = None) -> Order:
    """What the deal asks for, with the total that was signed."""
    signed = None if total is None else Decimal(total)
    return sold(line, line).model_copy(update={"total": signed, "created_at": created_at})


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_of(deal(), [order()], flow()), []),
        (facts_of(deal(), [order()]), []),
        (facts_of(deal(status="done"), [order(status=ErpStatus.PROCESSING)]), []),
        (facts_of(deal(order=sold("50.004", "50.005")), [order()]), []),
        (facts_of(deal(order=sold("50.00", "50.02")), [order()]), [FindingKind.AMOUNT_DIFFERS]),
        (facts_of(deal(), [order(currency="USD")]), [FindingKind.AMOUNT_DIFFERS]),
        (facts_of(deal(), [order(line_count=3)]), [FindingKind.AMOUNT_DIFFERS]),
        (facts_of(deal(number=None), [order(amount=1)]), [FindingKind.AMOUNT_DIFFERS, FindingKind.NOT_WRITTEN_BACK]),
        (facts_of(deal(writes_back=frozenset(), number=None, status=None), [order()]), []),
        (facts_of(deal(status="needs attention"), [order()]), [FindingKind.NOT_WRITTEN_BACK]),
        (facts_of(deal(number="S2"), [order()]), [FindingKind.NOT_WRITTEN_BACK]),
        (facts_of(deal(number=None), []), [FindingKind.WON_WITHOUT_ORDER]),
        (facts_of(deal(), []), [FindingKind.UNKNOWN_NUMBER]),
        (facts_of(deal(status="not needed", number=None), []), []),
        (facts_of(deal(problem="no product", order=None), [order()]), []),
        (facts_of(deal(), [order(status=ErpStatus.QUOTATION)]), [FindingKind.NOT_CONFIRMED]),
        (facts_of(deal(), [order(status=ErpStatus.CANCELLED)]), [FindingKind.CANCELLED_IN_ERP]),
        (facts_of(deal(), [order(), order("S2", status=ErpStatus.CANCELLED)]), []),
        (facts_of(deal(), [order(), order("S1", erp="other")]), [FindingKind.DUPLICATE_ORDER]),
        (facts_of(deal(status="cancelled"), [order(status=ErpStatus.CANCELLED)]), []),
        (facts_of(deal(status="cancelled", number=None), []), []),
        (facts_of(deal(status="cancelled"), [order()]), [FindingKind.ORDER_WITHOUT_DEAL]),
        (facts_of(deal(**OPEN), []), []),
        (facts_of(deal(**OPEN), [order()]), [FindingKind.ORDER_WITHOUT_DEAL]),
        (facts_of(deal(**OPEN | {"deleted": True}), [order(status=ErpStatus.CANCELLED)]), []),
        (facts_of(deal(**OPEN | {"number": "S1"}), []), [FindingKind.UNKNOWN_NUMBER]),
        (facts_of(deal(**OPEN | {"number": "S1", "deleted": True}), []), []),
        (facts_of(deal(wanted=False), [order(status=ErpStatus.CANCELLED)]), [FindingKind.NOT_WRITTEN_BACK]),
        (facts_of(deal(wanted=False, deleted=True), [order(status=ErpStatus.CANCELLED)]), []),
        (facts_of(None, [order()]), [FindingKind.ORDER_WITHOUT_DEAL]),
        (facts_of(None, [order(status=ErpStatus.CANCELLED)]), []),
        (facts_of(deal(), [order()], flow(number="S9")), [FindingKind.WORKFLOW_DIFFERS]),
        (facts_of(deal(**OPEN), [], flow()), [FindingKind.WORKFLOW_DIFFERS]),
        (facts_of(None, [], flow()), [FindingKind.WORKFLOW_DIFFERS]),
        (facts_of(deal(**OPEN | {"tolerated": {FindingKind.ORDER_WITHOUT_DEAL}}), [order()]), []),
        (facts_of(deal(tolerated={FindingKind.AMOUNT_DIFFERS}), [order(amount=1)]), []),
        (facts_of(deal(wanted=None, order=None), [order()]), []),
        (facts_of(deal(wanted=None, order=None), []), [FindingKind.UNKNOWN_NUMBER]),
        (facts_of(deal(wanted=None, order=None, number=None), [order()]), [FindingKind.NOT_WRITTEN_BACK]),
        (facts_of(deal(wanted=None, order=None, number=None, status=None), []), []),
    ],
)
def test_each_case_is_compared(facts: Facts, expected: list[FindingKind]) -> None:
    """What agrees is not reported, also after rounding or in a later state; each disagreement has a kind."""
    assert expected == kinds(facts)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_of(deal(status="not needed", **UNPROVEN), []), [FindingKind.COPIED_STATUS]),
        (facts_of(deal(status="cancelled", **UNPROVEN), [], ended(OrderStage.NOT_NEEDED)), [FindingKind.COPIED_STATUS]),
        (facts_of(deal(status="cancelled", **UNPROVEN), [], ended(OrderStage.CANCELLED, declined=True)), []),
        (facts_of(deal(status="not needed", **UNPROVEN), [], ended(OrderStage.NOT_NEEDED, declined=True)), []),
        (facts_of(deal(status="cancelled", **UNPROVEN), [], flow(OrderStage.CANCELLED, "running", number=None)), []),
        (facts_of(deal(status="cancelled", **UNPROVEN), [order(status=CANCELLED)]), []),
        (facts_of(deal(status="cancelled", proof=Proof.NONE), [order()]), [FindingKind.COPIED_STATUS]),
        (
            facts_of(deal(status="cancelled", **UNPROVEN), [order()], ended(declined=True)),
            [FindingKind.ORDER_WITHOUT_DEAL],
        ),
        (facts_of(deal(**COPY), []), [FindingKind.COPIED_STATUS]),
        (facts_of(deal(**COPY), [order()]), [FindingKind.COPIED_STATUS]),
        (facts_of(deal(**COPY), [order(status=CANCELLED)]), [FindingKind.CANCELLED_IN_ERP]),
        (facts_of(deal(**OPEN | COPY), []), []),
        (facts_of(deal(**OPEN | COPY), [order()]), [FindingKind.ORDER_WITHOUT_DEAL]),
        (facts_of(deal(status=CANCELLED_UNQUALIFIED, **UNPROVEN), []), [FindingKind.WON_WITHOUT_ORDER]),
        (facts_of(deal(writes_back=frozenset({"number"}), **COPY), []), [FindingKind.COPIED_STATUS]),
    ],
)
def test_what_a_record_says_of_its_order_must_be_proven(facts: Facts, expected: list[FindingKind]) -> None:
    """By its key field, by the ERP under its own key, or by its own workflow; a copy that is not won harms nothing."""
    assert expected == kinds(facts)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_of(deal(), [order(customer=ACCOUNT)]), []),
        (facts_of(deal(), [order(customer="001000000000009AAA")]), [FindingKind.CUSTOMER_DIFFERS]),
        (facts_of(deal(), [order(customer="9", amount=1)]), [FindingKind.CUSTOMER_DIFFERS, FindingKind.AMOUNT_DIFFERS]),
        (
            facts_of(deal(tolerated={FindingKind.AMOUNT_DIFFERS}), [order(customer="9", amount=1)]),
            [FindingKind.CUSTOMER_DIFFERS],
        ),
        (facts_of(deal(order=asks("100.00")), [order()]), []),
        (facts_of(deal(order=asks("100.01")), [order()]), [FindingKind.TOTAL_DIFFERS]),
        (facts_of(deal(order=asks("100.01", line="50.004")), [order()]), []),
        (facts_of(deal(order=asks("90.00")), [order()]), [FindingKind.TOTAL_DIFFERS]),
        (facts_of(deal(order=asks("100.02", line="50.005")), [order(amount="100.00")]), []),
        (facts_of(deal(order=asks("100.02", line="50.005")), [order(amount="99.99")]), [FindingKind.AMOUNT_DIFFERS]),
        (
            facts_of(deal(order=asks("90.00")), [order(amount=90)]),
            [FindingKind.AMOUNT_DIFFERS, FindingKind.TOTAL_DIFFERS],
        ),
        (
            facts_of(deal(order=asks("90.00"), tolerated={FindingKind.AMOUNT_DIFFERS}), [order()]),
            [FindingKind.TOTAL_DIFFERS],
        ),
        (facts_of(deal(erp="erp"), [order()]), []),
        (facts_of(deal(erp="other"), [order()]), [FindingKind.OTHER_ERP]),
    ],
)
def test_customer_total_and_erp_are_compared(facts: Facts, expected: list[FindingKind]) -> None:
    """No policy tolerates another customer, or a total that the deal contradicts."""
    assert expected == kinds(facts)


ADOPTED, RESOLVED, CREATED = ({"origin": origin} for origin in (Origin.ADOPTED, Origin.RESOLVED, Origin.CREATED))


IGNORES = {"tolerated": {FindingKind.AMOUNT_DIFFERS}}


UNQUALIFIED_DEAL = {"wanted": False, "number": None, "status": None}


DELETED = UNQUALIFIED_DEAL | {
    "deleted": True,
    "order": None,
    "head": OrderHead(customer="001000000000001AAA", currency="EUR", total=Decimal(100), created_at=NOON),
    "tolerated": {FindingKind.ORDER_WITHOUT_DEAL},
}


SINCE: dict[str, Any] = {"order_date": NOON.date()}


PLACED: dict[str, Any] = {"order_date": (NOON - timedelta(days=30)).date()}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_of(deal(), [order(**CREATED)]), []),
        (facts_of(deal(), [order(**ADOPTED)]), []),
        (facts_of(deal(), [order(**ADOPTED, amount=1)]), [FindingKind.FOREIGN_ORDER]),
        (facts_of(deal(**IGNORES), [order(**ADOPTED, amount=1)]), [FindingKind.FOREIGN_ORDER]),
        (facts_of(deal(), [order(**ADOPTED, customer="9")]), [FindingKind.FOREIGN_ORDER]),
        (facts_of(deal(order=asks(created_at=NOON)), [order(**ADOPTED, **PLACED)]), [FindingKind.FOREIGN_ORDER]),
        (facts_of(deal(order=asks(created_at=NOON)), [order(**RESOLVED, **PLACED)]), []),
        (facts_of(deal(), [order(**RESOLVED, amount=1)]), [FindingKind.FOREIGN_ORDER]),
        (facts_of(deal(**IGNORES), [order(**RESOLVED, amount=1)]), []),
        (facts_of(deal(**IGNORES), [order(**RESOLVED, customer="9")]), [FindingKind.FOREIGN_ORDER]),
        (facts_of(deal(wanted=None, order=None), [order(**ADOPTED)]), []),
        (facts_of(deal(wanted=False, tolerated={FindingKind.ORDER_WITHOUT_DEAL}), [order(**ADOPTED)]), []),
        (
            facts_of(deal(wanted=False, tolerated={FindingKind.ORDER_WITHOUT_DEAL}), [order(**ADOPTED, amount=1)]),
            [FindingKind.FOREIGN_ORDER],
        ),
        (facts_of(deal(**OPEN), [order(**ADOPTED, status=CANCELLED)]), []),
        (
            facts_of(deal(**OPEN), [order(**ADOPTED, status=CANCELLED)], ended(OrderStage.CANCELLED)),
            [FindingKind.FOREIGN_ORDER],
        ),
        (
            facts_of(None, [order(**RESOLVED, status=CANCELLED)], ended(OrderStage.CANCELLED)),
            [FindingKind.FOREIGN_ORDER],
        ),
        (facts_of(deal(**OPEN), [order(**CREATED, status=CANCELLED)], ended(OrderStage.CANCELLED)), []),
        (facts_of(deal(**OPEN), [order(**ADOPTED, status=CANCELLED)], ended(OrderStage.CANCELLED, declined=True)), []),
        (facts_of(deal(**OPEN), [order(**ADOPTED, status=CANCELLED)], flow(OrderStage.CANCELLED, "running")), []),
        (
            facts_of(deal(**OPEN), [order(**ADOPTED, status=CANCELLED)], after(ended(OrderStage.CANCELLED))),
            [FindingKind.FOREIGN_ORDER],
        ),
        (facts_of(deal(**OPEN), [order(**CREATED, status=CANCELLED)], after(ended(OrderStage.CANCELLED))), []),
        (
            facts_of(
                deal(**OPEN), [order(**ADOPTED, status=CANCELLED)], after(ended(OrderStage.CANCELLED, declined=True))
            ),
            [],
        ),
        (facts_of(deal(**DELETED), [order(**ADOPTED, customer="001000000000001AAA", **SINCE)]), []),
        (facts_of(deal(**DELETED), [order(**ADOPTED, amount=1)]), [FindingKind.FOREIGN_ORDER]),
        (facts_of(deal(**DELETED), [order(**ADOPTED, amount=1, status=CANCELLED)]), [FindingKind.FOREIGN_ORDER]),
        (facts_of(deal(**DELETED), [order(**ADOPTED, currency="USD")]), [FindingKind.FOREIGN_ORDER]),
        (facts_of(deal(**DELETED), [order(**ADOPTED, customer="9")]), [FindingKind.FOREIGN_ORDER]),
        (facts_of(deal(**DELETED), [order(**ADOPTED, **PLACED)]), [FindingKind.FOREIGN_ORDER]),
        (facts_of(deal(**DELETED), [order(**CREATED, amount=1)]), []),
        (facts_of(deal(**DELETED), [order(**RESOLVED, amount=1)]), []),
        (facts_of(deal(**UNQUALIFIED_DEAL), [order(**ADOPTED, status=CANCELLED)]), []),
        (
            facts_of(deal(**UNQUALIFIED_DEAL), [order(**ADOPTED, status=CANCELLED, currency="USD")]),
            [FindingKind.FOREIGN_ORDER],
        ),
        (facts_of(deal(**UNQUALIFIED_DEAL), [order(**RESOLVED, status=CANCELLED, currency="USD")]), []),
        (facts_of(deal(**UNQUALIFIED_DEAL), [order(**CREATED, status=CANCELLED, currency="USD")]), []),
    ],
)
def test_an_order_that_closedwon_did_not_make_must_be_one_that_the_record_may_take(
    facts: Facts, expected: list[FindingKind]
) -> None:
    """What was adopted agrees in everything; no policy cancels it."""
    assert expected == kinds(facts)


def test_an_order_without_an_origin_is_foreign_where_the_erp_keeps_origins() -> None:
    """Another program stored the key. In an ERP without origins this cannot be detected."""
    other = RecordKey(KEY.org, RecordId("0065g00000Deal2"))
    listed = facts_of(deal(), [order()])
    by_us = Facts({**listed.deals, other: deal()}, {**listed.orders, other: [order(**CREATED)]}, {})
    elsewhere = Facts({**listed.deals, other: deal()}, {**listed.orders, other: [order(erp="second", **CREATED)]}, {})

    assert [FindingKind.FOREIGN_ORDER] == kinds(by_us)
    assert [] == kinds(elsewhere)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_of(deal(), [order(amount=1, modified_at=EARLY)], then()), [FindingKind.LATE_EFFECT]),
        (facts_of(deal(), [order(status=CANCELLED, modified_at=EARLY)], then()), [FindingKind.LATE_EFFECT]),
        (facts_of(deal(**OPEN), [order(modified_at=EARLY)], then()), [FindingKind.LATE_EFFECT]),
        (facts_of(deal(), [order(amount=1, modified_at=LATE)], then()), [FindingKind.AMOUNT_DIFFERS]),
        (facts_of(deal(), [order(amount=1)], then()), [FindingKind.AMOUNT_DIFFERS]),
        (facts_of(deal(), [order(amount=1, modified_at=EARLY)], then(None)), [FindingKind.AMOUNT_DIFFERS]),
        (facts_of(deal(), [order(amount=1, modified_at=EARLY, id="S2")], then()), [FindingKind.AMOUNT_DIFFERS]),
        (facts_of(deal(**IGNORES), [order(amount=1, modified_at=EARLY)], then()), []),
        (facts_of(deal(), [order(modified_at=EARLY)], then()), []),
    ],
)
def test_an_order_made_of_something_older_than_its_workflow_ended_with_is_a_late_effect(
    facts: Facts, expected: list[FindingKind]
) -> None:
    """The ERP keeps of which moment an order is; where that is older and the order is wrong, an old call came late."""
    assert expected == kinds(facts)
