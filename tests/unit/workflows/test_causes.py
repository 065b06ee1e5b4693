"""What orders that need attention have in common."""

from __future__ import annotations

import pytest

from closedwon.errors import AttentionReason
from closedwon.ids import OrgId
from closedwon.model.order_state import Problem
from closedwon.operations.causes import Asked, by_cause

_ORG, _OTHER_ORG = OrgId("00D000000000001EAA"), OrgId("00D000000000002EAA")


def _problem(message: str, reason: AttentionReason = AttentionReason.ERP_REJECTED, erp: str = "stub") -> Problem:
    return Problem(reason=reason, message=message, hint="Fix it.", erp=erp)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (_problem("refuses with 422: order S0042"), _problem("refuses with 422: order S0043"), 1),
        (_problem("refuses: credit limit"), _problem("refuses: period closed"), 2),
        (_problem("refuses: credit limit"), _problem("refuses: credit limit", erp="other"), 2),
        (
            _problem("record 0065g00000AbCdEAAV has no name", AttentionReason.MAPPING_FAILED),
            _problem("record 0065g00000XyZaBAAV has no name", AttentionReason.MAPPING_FAILED),
            1,
        ),
        (
            _problem("has no product 'X-1'", AttentionReason.UNKNOWN_PRODUCT),
            _problem("has no product 'X-2'", AttentionReason.UNKNOWN_PRODUCT),
            2,
        ),
    ],
)
def test_what_counts_as_one_cause(one: Problem, other: Problem, expected: int) -> None:
    """What one correction puts right: ids and numbers of orders make no difference, ERPs and products do."""
    assert expected == len(by_cause([Asked(_ORG, one), Asked(_ORG, other)]))


@pytest.mark.parametrize(("erp", "expected"), [(None, 2), ("stub", 1)])
def test_two_orgs_with_the_same_cause_are_two_causes(erp: str | None, expected: int) -> None:
    """Each has a setting of its own to correct; orders that one ERP refuses have one cause, from whichever org."""
    problem = Problem(reason=AttentionReason.CONFIGURATION, message="INVALID_FIELD", hint="Fix it.", erp=erp)
    assert expected == len(by_cause([Asked(_ORG, problem), Asked(_OTHER_ORG, problem), Asked(_ORG, problem)]))


def test_records_that_our_user_cannot_see_have_one_cause() -> None:
    """A changed sharing rule hides many at once, and a stranger may name any number of records that do not exist."""
    unseen = AttentionReason.RECORD_NOT_FOUND
    one, other = (_problem(f"record 006000000000{number}AAA is not visible", unseen) for number in (101, 102))
    assert one.cause is not None
    assert one.cause == other.cause


def test_what_each_order_is_decided_by_itself_has_no_common_cause() -> None:
    """Its alert is its own."""
    assert _problem("differs", AttentionReason.AMOUNT_DIFFERS).cause is None
