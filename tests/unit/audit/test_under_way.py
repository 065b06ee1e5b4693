"""Which disagreements are under way, which can be fixed, and how deals are counted."""

from __future__ import annotations

from datetime import timedelta

import pytest

from closedwon.audit.compare import (
    AuditedDeal,
    AuditedWorkflow,
    Counts,
    Facts,
    FindingKind,
    count,
    disagreements,
    incomplete,
)
from closedwon.model.erp import ErpStatus
from closedwon.names import OrderStage
from tests.unit.audit.cases import CANCELLED, EARLY, KEY, NOON, OPEN, deal, facts_of, flow, kinds, order, then


@pytest.mark.parametrize(
    ("workflow", "settled"),
    [
        (None, True),
        (flow(OrderStage.ATTENTION, "running", reason="erp-rejected"), True),
        (flow(OrderStage.CANCELLED, "running"), True),
        (flow(OrderStage.FOLLOWING, "running"), True),
        (flow(OrderStage.ORDERING, "terminated"), True),
        (flow(OrderStage.ORDERING, "running"), False),
        (flow(OrderStage.ORDERING, "running", wedged=True), True),
    ],
)
def test_what_goes_on_by_itself_is_under_way(workflow: AuditedWorkflow | None, settled: bool) -> None:  # noqa: FBT001
    """A workflow that waits for a person, or was ended by one, does nothing about it any more."""
    findings, under_way = disagreements(facts_of(deal(number=None), [], workflow), [KEY], young=NOON)

    assert (settled, not settled) == (bool(findings), bool(under_way))


def test_a_workflow_that_follows_its_order_notices_a_cancellation() -> None:
    """It reports an order that was cancelled in the ERP, and compares nothing else."""
    following = flow(OrderStage.FOLLOWING, "running")
    cancelled = facts_of(deal(), [order(status=ErpStatus.CANCELLED)], following)

    assert [] == kinds(cancelled)
    assert [FindingKind.CANCELLED_IN_ERP] == [one.kind for one in disagreements(cancelled, [KEY], young=NOON)[1]]
    assert [FindingKind.NOT_WRITTEN_BACK] == kinds(facts_of(deal(number=None), [order()], following))


def test_a_workflow_that_cannot_continue_notices_and_fixes_nothing() -> None:
    """It lacks a key, or does not fit the code: `--fix` would only send it one more message that it does not read."""
    wedged = flow(OrderStage.ORDERING, "running", number=None, wedged=True)
    (finding,), _ = disagreements(facts_of(deal(number=None), [], wedged), [KEY], young=NOON)
    assert (False, "cannot continue (ordering)") == (finding.fixable, finding.workflow)
    following = flow(OrderStage.FOLLOWING, "running", wedged=True)
    cancelled = facts_of(deal(), [order(status=ErpStatus.CANCELLED)], following)
    assert [FindingKind.CANCELLED_IN_ERP] == kinds(cancelled)


def test_a_fresh_change_is_under_way() -> None:
    """The notification may not have arrived yet."""
    assert [] == kinds(facts_of(deal(), []), young=NOON - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("salesforce", "fixed"),
    [
        (deal(number=None), True),
        (deal(number=None, by_event=True, wanted=None), False),
        (deal(**OPEN), True),
        (deal(**OPEN | {"by_event": True, "deleted": True}), False),
        (deal(status="cancelled"), False),
    ],
)
def test_only_a_finding_that_a_workflow_can_fix_is_fixable(salesforce: AuditedDeal, fixed: bool) -> None:  # noqa: FBT001
    """A workflow can fix a deal that is won or no longer won, but not without the message that contains the order."""
    (finding,), _ = disagreements(facts_of(salesforce, [order()]), [KEY], young=NOON)

    assert fixed is finding.fixable


@pytest.mark.parametrize(
    ("facts", "kind", "fixed"),
    [
        (facts_of(deal(**OPEN), [order()]), FindingKind.ORDER_WITHOUT_DEAL, True),
        (facts_of(deal(**OPEN), [order(modified_at=EARLY)], then()), FindingKind.LATE_EFFECT, True),
        (facts_of(deal(**OPEN | {"number": "S1"}), []), FindingKind.UNKNOWN_NUMBER, False),
        (facts_of(deal(**OPEN), [], flow()), FindingKind.WORKFLOW_DIFFERS, False),
        (facts_of(deal(wanted=False), [order(status=CANCELLED)]), FindingKind.NOT_WRITTEN_BACK, False),
        (facts_of(deal(wanted=None, order=None), []), FindingKind.UNKNOWN_NUMBER, False),
        (facts_of(None, [order()]), FindingKind.ORDER_WITHOUT_DEAL, False),
    ],
)
def test_a_workflow_can_only_cancel_the_order_of_a_deal_that_is_not_won(
    facts: Facts, kind: FindingKind, *, fixed: bool
) -> None:
    """All other findings about it are left to a person."""
    (finding,), _ = disagreements(facts, [KEY], young=NOON)
    assert (kind, fixed) == (finding.kind, finding.fixable)


def test_without_a_status_field_the_workflow_proves_that_an_order_is_declined() -> None:
    """If no status is written back, the stage of the workflow counts."""
    silent = deal(writes_back=frozenset({"number"}), number=None, status=None)

    assert [] == kinds(facts_of(silent, [], flow(OrderStage.CANCELLED, number=None)))
    assert [FindingKind.WON_WITHOUT_ORDER] == kinds(facts_of(silent, []))


def test_a_record_that_salesforce_has_not_listed_is_incomplete() -> None:
    """An order or a workflow of a record that changed earlier is not a finding until the record was read."""
    assert [KEY] == incomplete(facts_of(None, [order(status=ErpStatus.CANCELLED)]))
    assert [] == incomplete(facts_of(deal(), [order()], flow()))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_of(deal(), [order()]), Counts(won=1, ordered=1, written_back=1)),
        (facts_of(deal(), []), Counts(won=1, missing=1)),
        (facts_of(deal(), [], flow(OrderStage.ATTENTION, "running", number=None)), Counts(won=1, waiting=1)),
        (facts_of(deal(), [], flow(OrderStage.ORDERING, "running", number=None)), Counts(won=1, waiting=1)),
        (facts_of(deal(), [], flow(OrderStage.CANCELLED, "running", number=None)), Counts(won=1, missing=1)),
        (facts_of(deal(), [], flow(OrderStage.ATTENTION, "terminated", number=None)), Counts(won=1, missing=1)),
        (facts_of(deal(), [order(status=ErpStatus.DRAFT)]), Counts(won=1)),
        (facts_of(deal(), [order("S2")]), Counts(won=1, ordered=1)),
        (facts_of(deal(), [order(), order("S2")]), Counts(won=1, ordered=1, written_back=1, duplicates=1)),
        (facts_of(deal(**OPEN), [order()]), Counts(duplicates=1)),
        (facts_of(deal(**OPEN | {"tolerated": {FindingKind.ORDER_WITHOUT_DEAL}}), [order()]), Counts()),
        (facts_of(deal(status="cancelled"), []), Counts(won=1, cancelled=1)),
        (facts_of(deal(status="cancelled"), [order(status=ErpStatus.CANCELLED)]), Counts(won=1, cancelled=1)),
        (facts_of(deal(**OPEN), []), Counts()),
        (facts_of(deal(wanted=None), [order()]), Counts(won=1, ordered=1, written_back=1)),
    ],
)
def test_deals_are_counted_by_how_far_they_came(facts: Facts, expected: Counts) -> None:
    """A clean report has one order, written back, for each won deal that was not cancelled."""
    assert expected == count(facts, [KEY])
