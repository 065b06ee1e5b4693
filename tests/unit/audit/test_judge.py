"""What counts as agreement, case by case: pure comparison of three listings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from closedwon.audit.judge import Booked, Counts, Deal, Facts, Flow, Kind, count, disagreements, doubtful
from closedwon.ids import OrgId, RecordId
from closedwon.model import UNWON, Customer, ErpOrder, ErpStatus, Order, OrderLine, Origin
from closedwon.names import OrderStage, RecordKey
from closedwon.temporal import Ended, EndedOrder
from closedwon.write_back import Proof

KEY = RecordKey(OrgId("00D5g000004Kx1X"), RecordId("0065g00000Deal1"))
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
TOLD = frozenset({"number", "status"})


def sold(*prices: str) -> Order:
    """One of each product at these prices."""
    return Order(
        org=KEY.org,
        record=KEY.record,
        name="Ten generators",
        customer=Customer(id=RecordId("001000000000001"), name="Edge"),
        currency="EUR",
        lines=tuple(OrderLine(product="GC", quantity=Decimal(1), unit_price=Decimal(price)) for price in prices),
    )


def deal(**changes: Any) -> Deal:
    """A won deal of 100 EUR that shows its order, S1."""
    facts: dict[str, Any] = {
        "route": "won-deals",
        "modified_at": NOON,
        "wanted": True,
        "order": sold("50.00", "50.00"),
        "told": TOLD,
        "number": "S1",
        "status": "confirmed",
        "proof": Proof.OWN,
    }
    return Deal(**facts | changes)


def order(number: str = "S1", *, erp: str = "erp", **changes: Any) -> Booked:
    """Its order."""
    facts: dict[str, Any] = {
        "id": number,
        "number": number,
        "status": ErpStatus.CONFIRMED,
        "currency": "EUR",
        "amount": Decimal("100.00"),
        "line_count": 2,
    }
    return Booked(erp=erp, key="key", order=ErpOrder(**facts | changes))


def flow(stage: OrderStage = OrderStage.COMPLETED, status: str = "completed", **changes: Any) -> Flow:
    """Its workflow, which has ended well."""
    return Flow(status=status, stage=stage, started_at=NOON, **{"number": "S1", **changes})


def facts_of(salesforce: Deal | None, booked: list[Booked], workflow: Flow | None = None) -> Facts:
    """What the three say of one record."""
    return Facts(
        {KEY: salesforce} if salesforce else {}, {KEY: booked} if booked else {}, {KEY: workflow} if workflow else {}
    )


def kinds(facts: Facts, *, young: datetime = NOON) -> list[Kind]:
    """What disagrees for good."""
    return [one.kind for one in disagreements(facts, [KEY], young=young)[0]]


OPEN = {"wanted": False, "order": None, "number": None, "status": None}
UNPROVEN = {"number": None, "proof": Proof.NONE}
COPY = {"number": None, "status": None, "proof": Proof.OTHER}
EARLY, LATE = NOON - timedelta(hours=1), NOON
CANCELLED = ErpStatus.CANCELLED
ACCOUNT = "001000000000001AAA"


def ended(stage: OrderStage = OrderStage.COMPLETED, status: str = "completed", **how: Any) -> Flow:
    """Its workflow, of which is known how it has ended."""
    return flow(stage, status, ended=Ended(**how), number=None)


def asks(total: str | None = None, *, created_at: datetime | None = None) -> Order:
    """What the deal asks for, with the total that was signed."""
    signed = None if total is None else Decimal(total)
    return sold("50.00", "50.00").model_copy(update={"total": signed, "created_at": created_at})


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_of(deal(), [order()], flow()), []),
        (facts_of(deal(), [order()]), []),
        (facts_of(deal(status="done"), [order(status=ErpStatus.PROCESSING)]), []),
        (facts_of(deal(order=sold("50.004", "50.005")), [order()]), []),
        (facts_of(deal(order=sold("50.00", "50.02")), [order()]), [Kind.AMOUNT_DIFFERS]),
        (facts_of(deal(), [order(currency="USD")]), [Kind.AMOUNT_DIFFERS]),
        (facts_of(deal(), [order(line_count=3)]), [Kind.AMOUNT_DIFFERS]),
        (facts_of(deal(number=None), [order(amount=1)]), [Kind.AMOUNT_DIFFERS, Kind.NOT_WRITTEN_BACK]),
        (facts_of(deal(told=frozenset(), number=None, status=None), [order()]), []),
        (facts_of(deal(status="needs attention"), [order()]), [Kind.NOT_WRITTEN_BACK]),
        (facts_of(deal(number="S2"), [order()]), [Kind.NOT_WRITTEN_BACK]),
        (facts_of(deal(number=None), []), [Kind.WON_WITHOUT_ORDER]),
        (facts_of(deal(), []), [Kind.UNKNOWN_NUMBER]),
        (facts_of(deal(status="not needed", number=None), []), []),
        (facts_of(deal(problem="no product", order=None), [order()]), []),
        (facts_of(deal(), [order(status=ErpStatus.QUOTATION)]), [Kind.NOT_CONFIRMED]),
        (facts_of(deal(), [order(status=ErpStatus.CANCELLED)]), [Kind.CANCELLED_IN_ERP]),
        (facts_of(deal(), [order(), order("S2", status=ErpStatus.CANCELLED)]), []),
        (facts_of(deal(), [order(), order("S1", erp="other")]), [Kind.DOUBLED]),
        (facts_of(deal(status="cancelled"), [order(status=ErpStatus.CANCELLED)]), []),
        (facts_of(deal(status="cancelled", number=None), []), []),
        (facts_of(deal(status="cancelled"), [order()]), [Kind.ORDER_WITHOUT_DEAL]),
        (facts_of(deal(**OPEN), []), []),
        (facts_of(deal(**OPEN), [order()]), [Kind.ORDER_WITHOUT_DEAL]),
        (facts_of(deal(**OPEN | {"deleted": True}), [order(status=ErpStatus.CANCELLED)]), []),
        (facts_of(deal(**OPEN | {"number": "S1"}), []), [Kind.UNKNOWN_NUMBER]),
        (facts_of(deal(**OPEN | {"number": "S1", "deleted": True}), []), []),
        (facts_of(deal(wanted=False), [order(status=ErpStatus.CANCELLED)]), [Kind.NOT_WRITTEN_BACK]),
        (facts_of(deal(wanted=False, deleted=True), [order(status=ErpStatus.CANCELLED)]), []),
        (facts_of(None, [order()]), [Kind.ORDER_WITHOUT_DEAL]),
        (facts_of(None, [order(status=ErpStatus.CANCELLED)]), []),
        (facts_of(deal(), [order()], flow(number="S9")), [Kind.WORKFLOW_DIFFERS]),
        (facts_of(deal(**OPEN), [], flow()), [Kind.WORKFLOW_DIFFERS]),
        (facts_of(None, [], flow()), [Kind.WORKFLOW_DIFFERS]),
        (facts_of(deal(**OPEN | {"tolerated": {Kind.ORDER_WITHOUT_DEAL}}), [order()]), []),
        (facts_of(deal(tolerated={Kind.AMOUNT_DIFFERS}), [order(amount=1)]), []),
        (facts_of(deal(wanted=None, order=None), [order()]), []),
        (facts_of(deal(wanted=None, order=None), []), [Kind.UNKNOWN_NUMBER]),
        (facts_of(deal(wanted=None, order=None, number=None), [order()]), [Kind.NOT_WRITTEN_BACK]),
        (facts_of(deal(wanted=None, order=None, number=None, status=None), []), []),
    ],
)
def test_each_case_is_judged(facts: Facts, expected: list[Kind]) -> None:
    """What agrees is passed over, rounding and later states of an order included; what does not has its own word."""
    assert expected == kinds(facts)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_of(deal(status="not needed", **UNPROVEN), []), [Kind.COPIED_STATUS]),
        (facts_of(deal(status="cancelled", **UNPROVEN), [], ended(OrderStage.NOT_NEEDED)), [Kind.COPIED_STATUS]),
        (facts_of(deal(status="cancelled", **UNPROVEN), [], ended(OrderStage.CANCELLED, declined=True)), []),
        (facts_of(deal(status="not needed", **UNPROVEN), [], ended(OrderStage.NOT_NEEDED, declined=True)), []),
        (facts_of(deal(status="cancelled", **UNPROVEN), [], flow(OrderStage.CANCELLED, "running", number=None)), []),
        (facts_of(deal(status="cancelled", **UNPROVEN), [order(status=CANCELLED)]), []),
        (facts_of(deal(status="cancelled", proof=Proof.NONE), [order()]), [Kind.COPIED_STATUS]),
        (facts_of(deal(status="cancelled", **UNPROVEN), [order()], ended(declined=True)), [Kind.ORDER_WITHOUT_DEAL]),
        (facts_of(deal(**COPY), []), [Kind.COPIED_STATUS]),
        (facts_of(deal(**COPY), [order()]), [Kind.COPIED_STATUS]),
        (facts_of(deal(**COPY), [order(status=CANCELLED)]), [Kind.CANCELLED_IN_ERP]),
        (facts_of(deal(**OPEN | COPY), []), []),
        (facts_of(deal(**OPEN | COPY), [order()]), [Kind.ORDER_WITHOUT_DEAL]),
        (facts_of(deal(status=UNWON, **UNPROVEN), []), [Kind.WON_WITHOUT_ORDER]),
        (facts_of(deal(told=frozenset({"number"}), **COPY), []), [Kind.COPIED_STATUS]),
    ],
)
def test_what_a_record_says_of_its_order_must_be_proven(facts: Facts, expected: list[Kind]) -> None:
    """By its key field, by the ERP under its own key, or by its own workflow; a copy that is not won harms nothing."""
    assert expected == kinds(facts)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_of(deal(), [order(customer=ACCOUNT)]), []),
        (facts_of(deal(), [order(customer="001000000000009AAA")]), [Kind.CUSTOMER_DIFFERS]),
        (facts_of(deal(), [order(customer="9", amount=1)]), [Kind.CUSTOMER_DIFFERS, Kind.AMOUNT_DIFFERS]),
        (facts_of(deal(tolerated={Kind.AMOUNT_DIFFERS}), [order(customer="9", amount=1)]), [Kind.CUSTOMER_DIFFERS]),
        (facts_of(deal(order=asks("100.00")), [order()]), []),
        (facts_of(deal(order=asks("100.01")), [order()]), []),
        (facts_of(deal(order=asks("90.00")), [order()]), [Kind.TOTAL_DIFFERS]),
        (facts_of(deal(order=asks("90.00")), [order(amount=90)]), [Kind.AMOUNT_DIFFERS, Kind.TOTAL_DIFFERS]),
        (facts_of(deal(order=asks("90.00"), tolerated={Kind.AMOUNT_DIFFERS}), [order()]), [Kind.TOTAL_DIFFERS]),
        (facts_of(deal(erp="erp"), [order()]), []),
        (facts_of(deal(erp="other"), [order()]), [Kind.OTHER_ERP]),
    ],
)
def test_customer_total_and_erp_are_compared(facts: Facts, expected: list[Kind]) -> None:
    """No policy tolerates another customer, or a total that the deal contradicts."""
    assert expected == kinds(facts)


ADOPTED, RESOLVED, CREATED = ({"origin": origin} for origin in (Origin.ADOPTED, Origin.RESOLVED, Origin.CREATED))
IGNORES = {"tolerated": {Kind.AMOUNT_DIFFERS}}
PLACED: dict[str, Any] = {"order_date": (NOON - timedelta(days=30)).date()}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_of(deal(), [order(**CREATED)]), []),
        (facts_of(deal(), [order(**ADOPTED)]), []),
        (facts_of(deal(), [order(**ADOPTED, amount=1)]), [Kind.FOREIGN_ORDER]),
        (facts_of(deal(**IGNORES), [order(**ADOPTED, amount=1)]), [Kind.FOREIGN_ORDER]),
        (facts_of(deal(), [order(**ADOPTED, customer="9")]), [Kind.FOREIGN_ORDER]),
        (facts_of(deal(order=asks(created_at=NOON)), [order(**ADOPTED, **PLACED)]), [Kind.FOREIGN_ORDER]),
        (facts_of(deal(order=asks(created_at=NOON)), [order(**RESOLVED, **PLACED)]), []),
        (facts_of(deal(), [order(**RESOLVED, amount=1)]), [Kind.FOREIGN_ORDER]),
        (facts_of(deal(**IGNORES), [order(**RESOLVED, amount=1)]), []),
        (facts_of(deal(**IGNORES), [order(**RESOLVED, customer="9")]), [Kind.FOREIGN_ORDER]),
        (facts_of(deal(wanted=None, order=None), [order(**ADOPTED)]), []),
        (facts_of(deal(wanted=False, tolerated={Kind.ORDER_WITHOUT_DEAL}), [order(**ADOPTED)]), []),
        (
            facts_of(deal(wanted=False, tolerated={Kind.ORDER_WITHOUT_DEAL}), [order(**ADOPTED, amount=1)]),
            [Kind.FOREIGN_ORDER],
        ),
        (facts_of(deal(**OPEN), [order(**ADOPTED, status=CANCELLED)]), []),
        (
            facts_of(deal(**OPEN), [order(**ADOPTED, status=CANCELLED)], ended(OrderStage.CANCELLED)),
            [Kind.FOREIGN_ORDER],
        ),
        (facts_of(None, [order(**RESOLVED, status=CANCELLED)], ended(OrderStage.CANCELLED)), [Kind.FOREIGN_ORDER]),
        (facts_of(deal(**OPEN), [order(**CREATED, status=CANCELLED)], ended(OrderStage.CANCELLED)), []),
        (facts_of(deal(**OPEN), [order(**ADOPTED, status=CANCELLED)], ended(OrderStage.CANCELLED, declined=True)), []),
        (facts_of(deal(**OPEN), [order(**ADOPTED, status=CANCELLED)], flow(OrderStage.CANCELLED, "running")), []),
    ],
)
def test_an_order_that_closedwon_did_not_make_must_be_one_that_the_record_may_take(
    facts: Facts, expected: list[Kind]
) -> None:
    """What was adopted agrees in everything; no policy cancels it."""
    assert expected == kinds(facts)


def test_an_order_without_an_origin_is_foreign_where_the_erp_keeps_origins() -> None:
    """Somebody else gave it the key; an ERP that keeps no origins says nothing about it."""
    other = RecordKey(KEY.org, RecordId("0065g00000Deal2"))
    listed = facts_of(deal(), [order()])
    by_us = Facts({**listed.deals, other: deal()}, {**listed.orders, other: [order(**CREATED)]}, {})
    elsewhere = Facts({**listed.deals, other: deal()}, {**listed.orders, other: [order(erp="second", **CREATED)]}, {})

    assert [Kind.FOREIGN_ORDER] == kinds(by_us)
    assert [] == kinds(elsewhere)


def then(modified_at: datetime | None = LATE, **how: Any) -> Flow:
    """Its workflow, which has ended with the order as of a moment."""
    return flow(ended=Ended(order=EndedOrder(id="S1", modified_at=modified_at), **how))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_of(deal(), [order(amount=1, modified_at=EARLY)], then()), [Kind.LATE_EFFECT]),
        (facts_of(deal(), [order(status=CANCELLED, modified_at=EARLY)], then()), [Kind.LATE_EFFECT]),
        (facts_of(deal(**OPEN), [order(modified_at=EARLY)], then()), [Kind.LATE_EFFECT]),
        (facts_of(deal(), [order(amount=1, modified_at=LATE)], then()), [Kind.AMOUNT_DIFFERS]),
        (facts_of(deal(), [order(amount=1)], then()), [Kind.AMOUNT_DIFFERS]),
        (facts_of(deal(), [order(amount=1, modified_at=EARLY)], then(None)), [Kind.AMOUNT_DIFFERS]),
        (facts_of(deal(), [order(amount=1, modified_at=EARLY, id="S2")], then()), [Kind.AMOUNT_DIFFERS]),
        (facts_of(deal(**IGNORES), [order(amount=1, modified_at=EARLY)], then()), []),
        (facts_of(deal(), [order(modified_at=EARLY)], then()), []),
    ],
)
def test_an_order_made_of_something_older_than_its_workflow_ended_with_is_a_late_effect(
    facts: Facts, expected: list[Kind]
) -> None:
    """The ERP keeps of which moment an order is; where that is older and the order is wrong, an old call came late."""
    assert expected == kinds(facts)


@pytest.mark.parametrize(
    ("workflow", "settled"),
    [
        (None, True),
        (flow(OrderStage.ATTENTION, "running", reason="erp-rejected"), True),
        (flow(OrderStage.CANCELLED, "running"), True),
        (flow(OrderStage.FOLLOWING, "running"), True),
        (flow(OrderStage.ORDERING, "terminated"), True),
        (flow(OrderStage.ORDERING, "running"), False),
    ],
)
def test_what_goes_on_by_itself_is_under_way(workflow: Flow | None, settled: bool) -> None:  # noqa: FBT001
    """A workflow that waits for a person, or was ended by one, does nothing about it any more."""
    findings, under_way = disagreements(facts_of(deal(number=None), [], workflow), [KEY], young=NOON)

    assert (settled, not settled) == (bool(findings), bool(under_way))


def test_a_workflow_that_follows_its_order_sees_what_the_erp_does() -> None:
    """An order that was cancelled in the ERP will be told by it; everything else it does not look at."""
    following = flow(OrderStage.FOLLOWING, "running")
    cancelled = facts_of(deal(), [order(status=ErpStatus.CANCELLED)], following)

    assert [] == kinds(cancelled)
    assert [Kind.CANCELLED_IN_ERP] == [one.kind for one in disagreements(cancelled, [KEY], young=NOON)[1]]
    assert [Kind.NOT_WRITTEN_BACK] == kinds(facts_of(deal(number=None), [order()], following))


def test_a_fresh_change_is_under_way() -> None:
    """Word of it may not have arrived yet."""
    assert [] == kinds(facts_of(deal(), []), young=NOON - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("salesforce", "cured"),
    [
        (deal(number=None), True),
        (deal(number=None, by_event=True, wanted=None), False),
        (deal(**OPEN), True),
        (deal(**OPEN | {"by_event": True, "deleted": True}), False),
        (deal(status="cancelled"), False),
    ],
)
def test_only_a_look_that_can_cure_is_offered(salesforce: Deal, cured: bool) -> None:  # noqa: FBT001
    """The workflow knows what to do of a deal that is won, or not any more; not without the message it is made of."""
    (finding,), _ = disagreements(facts_of(salesforce, [order()]), [KEY], young=NOON)

    assert cured is finding.fixable


def test_an_order_cancelled_before_a_route_tells_its_status_is_given_up() -> None:
    """Where no status is written back, the workflow's word counts."""
    silent = deal(told=frozenset({"number"}), number=None, status=None)

    assert [] == kinds(facts_of(silent, [], flow(OrderStage.CANCELLED, number=None)))
    assert [Kind.WON_WITHOUT_ORDER] == kinds(facts_of(silent, []))


def test_what_salesforce_has_not_listed_is_asked_for() -> None:
    """An order or a workflow of a record that was changed earlier is no disagreement before that was read."""
    assert [KEY] == doubtful(facts_of(None, [order(status=ErpStatus.CANCELLED)]))
    assert [] == doubtful(facts_of(deal(), [order()], flow()))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_of(deal(), [order()]), Counts(won=1, ordered=1, written_back=1)),
        (facts_of(deal(), []), Counts(won=1, lost=1)),
        (facts_of(deal(), [order(status=ErpStatus.DRAFT)]), Counts(won=1)),
        (facts_of(deal(), [order("S2")]), Counts(won=1, ordered=1)),
        (facts_of(deal(), [order(), order("S2")]), Counts(won=1, ordered=1, written_back=1, doubled=1)),
        (facts_of(deal(**OPEN), [order()]), Counts(doubled=1)),
        (facts_of(deal(**OPEN | {"tolerated": {Kind.ORDER_WITHOUT_DEAL}}), [order()]), Counts()),
        (facts_of(deal(status="cancelled"), []), Counts(won=1, cancelled=1)),
        (facts_of(deal(status="cancelled"), [order(status=ErpStatus.CANCELLED)]), Counts(won=1, cancelled=1)),
        (facts_of(deal(**OPEN), []), Counts()),
        (facts_of(deal(wanted=None), [order()]), Counts(won=1, ordered=1, written_back=1)),
    ],
)
def test_deals_are_counted_by_how_far_they_came(facts: Facts, expected: Counts) -> None:
    """All is well when all won deals are ordered and written back, once each, but for those that were cancelled."""
    assert expected == count(facts, [KEY])
