"""What a finding says about each system, without customer data, and when it counts."""

from __future__ import annotations

import functools
import itertools
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from closedwon.audit.compare import AuditReport, Counts, Finding, count, disagreements, incomplete, orphan
from closedwon.audit.facts import AuditedDeal, AuditedWorkflow, ErpEntry, Facts
from closedwon.audit.kinds import FindingKind
from closedwon.ids import OrgId, RecordId
from closedwon.mapping.write_back import Proof
from closedwon.model.erp import ErpStatus, Origin
from closedwon.model.outcomes import OrderResult
from closedwon.names import OrderStage, RecordKey
from tests.unit.audit.cases import CANCELLED, KEY, NOON, OPEN, deal, ended, facts_of, flow, kinds, order, sold

OTHER = RecordKey(KEY.org, RecordId("0065g00000Deal2"))
LATER = NOON + timedelta(minutes=5)


def found(facts: Facts) -> Finding:
    """The only disagreement, under way or not."""
    ((one,),) = [each for each in disagreements(facts, [KEY], young=NOON) if each]
    return one


def test_a_finding_says_what_each_side_says() -> None:
    """With record and route, and since when."""
    facts = facts_of(deal(number=None, status=None), [order(), order("S2", erp="b", status=CANCELLED)], flow())
    assert Finding(
        kind=FindingKind.NOT_WRITTEN_BACK,
        org=KEY.org,
        record=KEY.record,
        route="won-deals",
        salesforce="won, 100.00 EUR on 2 lines, shows nothing",
        erp="erp S1 confirmed, 100.00 EUR on 2 lines; b S2 cancelled, 100.00 EUR on 2 lines",
        workflow="completed S1",
        fixable=True,
        since=NOON,
    ) == found(facts)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_of(None, [order()]), ("no such record", "erp S1 confirmed, 100.00 EUR on 2 lines", "no workflow")),
        (facts_of(deal(number=None), []), ("won, 100.00 EUR on 2 lines, shows confirmed", "no order", "no workflow")),
        (facts_of(None, [], flow()), ("no such record", "no order", "completed S1")),
    ],
)
def test_a_side_that_says_nothing_is_named(facts: Facts, expected: tuple[str, str, str]) -> None:
    """Each of the three may be missing."""
    one = found(facts)
    assert expected == (one.salesforce, one.erp, one.workflow)


def test_a_record_that_is_gone_is_of_the_route_that_its_workflow_knows() -> None:
    """Or of none that is known; only a deal that is read can be helped by another look."""
    one = found(facts_of(None, [order()], flow(route="renewals")))
    assert ("renewals", False, None) == (one.route, one.fixable, one.since)
    assert found(facts_of(None, [order()])).route is None
    assert "won-deals" == found(facts_of(deal(number=None), [], flow(route="renewals"))).route


@pytest.mark.parametrize(
    ("workflow", "since"),
    [
        (None, LATER),
        (flow(OrderStage.ORDERING, "running"), NOON),
        (flow(OrderStage.ATTENTION, "running"), LATER),
        (flow(OrderStage.CANCELLED), LATER),
    ],
)
def test_a_finding_is_as_old_as_its_workflow_or_the_last_change(workflow: AuditedWorkflow | None, since: Any) -> None:
    """Of a workflow that goes on, its beginning counts."""
    assert since == found(facts_of(deal(number=None, modified_at=LATER), [], workflow)).since


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (deal(), "won, 100.00 EUR on 2 lines, shows S1 confirmed"),
        (deal(order=sold("1234567.5")), "won, 1,234,567.50 EUR on 1 line, shows S1 confirmed"),
        (deal(**OPEN), "not won, shows nothing"),
        (deal(**OPEN | {"deleted": True}), "deleted, shows nothing"),
        (deal(wanted=None, order=None, status=None), "by event, shows S1"),
        (deal(writes_back=frozenset(), order=None, problem="no product"), "won, no product"),
        (
            deal(proof=Proof.OTHER, number=None, status=None),
            "won, 100.00 EUR on 2 lines, shows the key of another record",
        ),
    ],
)
def test_what_salesforce_says(one: AuditedDeal, expected: str) -> None:
    """Nothing of the customer; only what the route writes back is shown."""
    assert expected == one.description


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (order(), "erp S1 confirmed, 100.00 EUR on 2 lines"),
        (order(number=None, id="7", line_count=1), "erp id 7 confirmed, 100.00 EUR on 1 line"),  # type: ignore[arg-type]
        (order(line_count=0, amount=Decimal(0)), "erp S1 confirmed, 0.00 EUR on 0 lines"),
        (order(origin=Origin.CREATED), "erp S1 confirmed, 100.00 EUR on 2 lines"),
        (order(origin=Origin.ADOPTED), "erp S1 confirmed, 100.00 EUR on 2 lines, adopted"),
        (order(origin=Origin.RESOLVED, status=CANCELLED), "erp S1 cancelled, 100.00 EUR on 2 lines, resolved"),
    ],
)
def test_what_the_erp_says(one: ErpEntry, expected: str) -> None:
    """Number or id, state, total; and how it came to have the key, unless Closedwon made it."""
    assert expected == one.description


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (flow(), "completed S1"),
        (flow(number=None), "completed"),
        (flow(OrderStage.ATTENTION, "running", reason="erp-rejected"), "needs attention (erp-rejected)"),
        (flow(OrderStage.ATTENTION, "terminated", reason="erp-rejected"), "terminated, attention S1"),
        (flow(OrderStage.ATTENTION), "attention S1"),
        (flow(OrderStage.ORDERING, "running"), "ordering S1"),
        (AuditedWorkflow(status="running", started_at=NOON), ""),
        (AuditedWorkflow(status="timed out", number="S1", started_at=NOON), "timed out,  S1"),
    ],
)
def test_what_the_workflow_says(one: AuditedWorkflow, expected: str) -> None:
    """Its stage; how it ended, if not well; and what it waits for."""
    assert expected == one.description
    assert (one.status == "running" and one.stage is OrderStage.ATTENTION) is one.in_attention


@pytest.mark.parametrize(
    ("one", "sees", "cancelled"),
    [
        (flow(OrderStage.ORDERING, "running"), True, True),
        (flow(OrderStage.FOLLOWING, "running"), False, True),
        (flow(OrderStage.ATTENTION, "running"), False, False),
        (flow(OrderStage.NOT_NEEDED, "running"), False, False),
        (flow(), False, False),
    ],
)
def test_what_a_workflow_will_notice_by_itself(one: AuditedWorkflow, *, sees: bool, cancelled: bool) -> None:
    """Everything while it goes on; a cancelled order while it follows it."""
    assert (sees, cancelled) == (
        one.will_notice(FindingKind.NOT_WRITTEN_BACK),
        one.will_notice(FindingKind.CANCELLED_IN_ERP),
    )


@pytest.mark.parametrize(
    ("one", "keeps", "declined"),
    [
        (flow(), False, False),
        (ended(kept_by_operator=True), True, False),
        (ended(declined=True), False, True),
        (flow(OrderStage.CANCELLED, "running"), False, True),
        (flow(OrderStage.CANCELLED, "running", ended=OrderResult()), False, True),
        (flow(OrderStage.ORDERING, "running", ended=OrderResult(declined=True)), False, False),
        (flow(OrderStage.CANCELLED), False, False),
    ],
)
def test_what_a_person_has_decided(one: AuditedWorkflow, *, keeps: bool, declined: bool) -> None:
    """As the end of the workflow says; one that runs on rests after it has cancelled."""
    assert (keeps, declined) == (one.keeps_order, one.has_declined)


def test_the_newest_run_knows_the_one_that_cancelled_the_order_before_it() -> None:
    """In whatever order Temporal lists the runs of a record, and though some are listed twice."""
    stages = (OrderStage.CANCELLED, OrderStage.COMPLETED, OrderStage.CANCELLED, OrderStage.COMPLETED)
    runs = [
        flow(stage).model_copy(update={"run": f"run {place}", "started_at": NOON + timedelta(hours=place)})
        for place, stage in enumerate((*stages, OrderStage.NOT_NEEDED))
    ]
    for listed in itertools.permutations([*runs, runs[4]]):
        newest = functools.reduce(AuditedWorkflow.merged_with, listed)
        assert ("run 4", "run 2") == (newest.run, newest.cancelled_before and newest.cancelled_before.run)


def test_a_record_is_young_only_after_that_moment() -> None:
    """A change at exactly that moment is no longer under way."""
    facts = facts_of(deal(number=None), [])
    for young, settled in ((NOON, 1), (NOON - timedelta(microseconds=1), 0), (LATER, 1)):
        assert settled == len(disagreements(facts, [KEY], young=young)[0])


@pytest.mark.parametrize(
    ("workflow", "expected"),
    [
        (flow(OrderStage.CANCELLED, number="S9"), []),
        (flow(number=None), []),
        (flow(number="S2"), []),
        (flow(number="S9"), [FindingKind.WORKFLOW_DIFFERS]),
        (flow(status="running", number="S9"), []),
    ],
)
def test_a_completed_workflow_must_have_ended_with_an_order_of_the_erp(
    workflow: AuditedWorkflow, expected: list[FindingKind]
) -> None:
    """Any of its orders; whatever else disagrees says more."""
    entries = [order(), order("S2", status=CANCELLED)]
    assert expected == kinds(facts_of(deal(), entries, workflow))
    assert [FindingKind.NOT_WRITTEN_BACK] == kinds(facts_of(deal(status=None), entries, flow(number="S9")))


@pytest.mark.parametrize("stage", [OrderStage.COMPLETED, OrderStage.NOT_NEEDED])
def test_where_no_status_is_written_only_a_cancelled_workflow_declines(stage: OrderStage) -> None:
    """Any other end leaves a won deal without an order."""
    silent = deal(writes_back=frozenset({"number"}), number=None, status=None)
    assert [FindingKind.WON_WITHOUT_ORDER] == kinds(facts_of(silent, [], flow(stage, number=None)))


def test_several_records_are_counted_and_listed_one_by_one() -> None:
    """In the order of their ids; what one says is not another's."""
    facts = Facts(
        {OTHER: deal(), KEY: deal(number=None)},
        {OTHER: [order(), order("S2"), order("S3", status=CANCELLED)]},
        {OTHER: flow()},
    )
    third = RecordKey(OrgId("00D000000000001"), RecordId("0065g00000Deal1"))
    assert [KEY, OTHER] == facts.records()
    assert [third, KEY, OTHER] == Facts(facts.deals, facts.orders, {third: flow()}).records()
    assert [KEY, OTHER] == incomplete(facts)
    assert Counts(won=2, ordered=1, written_back=1, duplicates=1, missing=1) == count(facts, [KEY, OTHER])
    assert Counts(won=1, ordered=1, written_back=1, duplicates=1) == count(facts, [OTHER])
    settled, _ = disagreements(facts, [KEY, OTHER], young=NOON)
    assert [(FindingKind.WON_WITHOUT_ORDER, KEY.record), (FindingKind.DUPLICATE_ORDER, OTHER.record)] == [
        (one.kind, one.record) for one in settled
    ]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_of(None, [order(), order("S2")]), Counts(duplicates=2)),
        (facts_of(None, [order(status=CANCELLED)]), Counts()),
        (facts_of(deal(**OPEN), [order()], ended(kept_by_operator=True)), Counts()),
        (facts_of(deal(**OPEN), [order(), order("S2")], ended(kept_by_operator=True)), Counts(duplicates=1)),
        (facts_of(deal(wanted=None), []), Counts()),
        (facts_of(deal(number=None), [order(status=CANCELLED)]), Counts(won=1)),
        (facts_of(deal(status="cancelled"), [order()]), Counts(won=1, ordered=1, written_back=1)),
        (facts_of(deal(), [order(status=ErpStatus.DRAFT), order("S2")]), Counts(won=1, ordered=1, duplicates=1)),
    ],
)
def test_orders_too_many_are_counted(facts: Facts, expected: Counts) -> None:
    """A won deal, or a decision to keep the order, allows one order; a cancelled order is not missing."""
    assert expected == count(facts, [KEY])


def test_a_customer_without_an_order_is_of_no_org() -> None:
    """An ERP does not know whose it is."""
    account = RecordId("001000000000001")
    assert Finding(
        kind=FindingKind.ORPHANED_CUSTOMER,
        org=None,
        record=account,
        route=None,
        salesforce="an Account",
        erp="tryton: a customer without an order",
        workflow="",
        fixable=False,
        since=None,
    ) == orphan("tryton", account)


def test_a_report_is_clean_without_findings() -> None:
    """What is under way, or waits for a person, is not a finding."""
    nothing = AuditReport(since=NOON, until=NOON, counts=Counts(), settled=Counts(), in_attention=3)
    one = orphan("tryton", RecordId("001000000000001"))
    assert nothing.clean
    assert 0 == AuditReport(since=NOON, until=NOON, counts=Counts(), settled=Counts()).in_attention
    assert nothing.model_copy(update={"under_way": (one,)}).clean
    assert not nothing.model_copy(update={"findings": (one,)}).clean
    assert (0, (), (), 0, {}, {}) == (
        nothing.totals_right, nothing.findings, nothing.under_way, Counts().won, nothing.looked_at, nothing.calls,
    )  # fmt: skip


def test_an_order_of_a_deal_by_message_is_not_offered_to_another_look() -> None:
    """Only a message contains whether it is wanted."""
    one = found(facts_of(deal(wanted=None, status="cancelled"), [order()]))
    assert (FindingKind.ORDER_WITHOUT_DEAL, False) == (one.kind, one.fixable)


@pytest.mark.parametrize(
    ("changes", "is_copy"),
    [
        ({}, False),
        ({"proof": Proof.NONE}, False),
        ({"proof": Proof.OTHER}, True),
        ({"status": "cancelled"}, False),
        ({"status": "cancelled", "proof": Proof.NONE}, True),
        ({"status": "cancelled", "proof": Proof.NONE, "writes_back": frozenset({"number"})}, False),
    ],
)
def test_what_counts_as_copied(changes: dict[str, Any], *, is_copy: bool) -> None:
    """Another record's key, or a decision without a proof where the route writes the status."""
    assert is_copy is deal(**changes).is_copy
