"""Which records have one Account."""

from __future__ import annotations

from typing import Any

import pytest

from closedwon.salesforce.api.parents import Parents
from tests.unit.salesforce.resting import record_ids

ACCOUNT = "001000000000001AAA"
NAMED = {"attributes": {"type": "Account", "url": f"/services/data/v67.0/sobjects/Account/{ACCOUNT}"}, "Name": "Acme"}
UNKNOWN = ("Opportunity", "unknown")


@pytest.mark.parametrize(
    ("record", "parent"),
    [
        ({"AccountId": ACCOUNT}, ACCOUNT),
        ({"Account": NAMED}, ACCOUNT),
        ({"AccountId": ACCOUNT, "Account": {"Name": "Acme"}}, ACCOUNT),
        ({"Name": "Deal"}, UNKNOWN),
        ({"Account": {"Name": "Acme"}}, UNKNOWN),
        ({"Account": {"attributes": None}}, UNKNOWN),
        ({"Account": {"attributes": {"url": 7}}}, UNKNOWN),
        ({"Account": {"attributes": {"url": ""}}}, UNKNOWN),
        ({"Account": "Acme"}, UNKNOWN),
    ],
)
def test_the_account_is_in_the_id_or_in_the_address(record: dict[str, Any], parent: object) -> None:
    """Records of one Account share a key, whatever the route selects; those of unknown Accounts do, too."""
    (deal,) = record_ids(1)
    parents = Parents()
    parents.note(deal, record)

    assert parent == parents.of("Opportunity", deal)


@pytest.mark.parametrize("record", [{"AccountId": None}, {"Account": None}])
def test_records_without_an_account_share_nothing(record: dict[str, Any]) -> None:
    """They lock nothing but themselves."""
    parents = Parents()
    deals = record_ids(2)
    for deal in deals:
        parents.note(deal, record)

    assert deals == [parents.of("Opportunity", deal) for deal in deals]


def test_a_reading_without_the_account_does_not_unlearn_it() -> None:
    """Another SELECT list of the same record says nothing of it; a later reading of the Account counts."""
    (deal,) = record_ids(1)
    parents = Parents()
    for record in ({"AccountId": "001000000000002AAA"}, {"AccountId": ACCOUNT}, {"Name": "Deal"}):
        parents.note(deal, record)

    assert ACCOUNT == parents.of("Opportunity", deal)


def test_only_the_newest_ten_thousand_are_kept() -> None:
    """The memory of a process is bounded."""
    parents = Parents()
    deals = record_ids(10_001)
    for deal in deals[:10_000]:
        parents.note(deal, {"AccountId": ACCOUNT})
    assert ACCOUNT == parents.of("Opportunity", deals[0])
    for deal in (deals[0], deals[10_000]):  # the first one is read again
        parents.note(deal, {"AccountId": ACCOUNT})

    assert (ACCOUNT, UNKNOWN, ACCOUNT) == tuple(parents.of("Opportunity", deals[place]) for place in (0, 1, -1))
