"""What the audit reads of a record that was deleted."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from closedwon.audit.views import deal_of
from closedwon.model.orders import OrderHead
from closedwon.names import RecordKey
from tests.support.mapping import ORG, RECORD, Fields, deal, example_route

KEY = RecordKey(ORG, RECORD)
CREATED = datetime(2026, 10, 1, 8, tzinfo=UTC)
HEAD = OrderHead(customer="0015g00000AbCdEAAV", currency="EUR", total=Decimal("200.00"), created_at=CREATED)


def deleted(**fields: object) -> Fields:
    """A deal in the recycle bin, its lines with it."""
    return deal(Amount=200.00, OpportunityLineItems=None, IsDeleted=True, **fields)


def test_a_deleted_deal_is_read_without_its_lines() -> None:
    """Customer, currency, total and date are left: what an order that was adopted for it is compared with."""
    found = deal_of(example_route(), KEY, deleted())

    assert (True, False, None, HEAD) == (found.deleted, found.wanted, found.order, found.head)


@pytest.mark.parametrize("fields", [{"Account": None}, {"CurrencyIsoCode": None}])
def test_a_deleted_deal_that_says_too_little_is_compared_with_nothing(fields: Fields) -> None:
    """A mapping that fails is not a finding."""
    assert deal_of(example_route(), KEY, deleted(**fields)).head is None


def test_a_deal_that_is_there_is_compared_with_its_lines() -> None:
    """The lines say more."""
    found = deal_of(example_route(), KEY, deal(IsDeleted=False))

    assert found.head is None
    assert found.order is not None
