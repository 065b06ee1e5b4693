"""What the audit makes of a record that does not say whether it needs an order."""

from __future__ import annotations

import pytest

from closedwon.audit.views import deal_of
from closedwon.names import RecordKey
from tests.support.mapping import ORG, RECORD, deal, example_route

KEY = RecordKey(ORG, RECORD)


@pytest.mark.parametrize(("won", "wanted"), [(True, True), (False, False), (None, True)])
def test_a_deal_whose_qualify_yields_nothing_is_counted(won: object, *, wanted: bool) -> None:
    """It is unknown whether it needs an order, so a missing order is reported."""
    found = deal_of(example_route(), KEY, deal(IsDeleted=False, IsWon=won))
    assert (wanted, "`qualify` yields no value" if won is None else None) == (found.wanted, found.problem)
