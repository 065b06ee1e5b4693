"""Which Account a record belongs to, as far as reads have shown it.

An update of an Opportunity also locks its Account. Two transactions that need one Account at the same time wait for
each other, and after ten seconds one of them fails with UNABLE_TO_LOCK_ROW. The client therefore never has two updates
of one Account in flight (`Parents.of` is a key of `closedwon.salesforce.api.coalesce`).

The Account is in the record if the route selects `AccountId` or any field of `Account`. Where it is not known (another
process has read the record, or the order is taken from an event), such updates of the object go one call after the
other, because any two of them might have one Account. What is known may be old, and several processes do not know of
each other: a conflict is still possible, and is retried.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any, Final

from closedwon.ids import RecordId

_MOST: Final = 10_000
"""Records that are kept, some 2 MB; the oldest are forgotten."""


class Parents:
    """The Accounts of the records that were read last."""

    def __init__(self) -> None:
        """Know nothing."""
        self._known: OrderedDict[RecordId, Hashable] = OrderedDict()

    def note(self, record_id: RecordId, record: Mapping[str, Any]) -> None:
        """Keep the Account of a record, as Salesforce writes it; a record without an Account has itself for a key."""
        parent = _parent(record)
        if parent is None:
            return
        self._known[record_id] = parent or record_id
        self._known.move_to_end(record_id)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)

    def of(self, object_name: str, record_id: RecordId) -> Hashable:
        """The key that updates of one Account have in common."""
        return self._known.get(record_id, (object_name, "unknown"))


def _parent(record: Mapping[str, Any]) -> str | None:
    """The Account's id; "" if the record has no Account, None if it does not show whether it has one."""
    if "AccountId" in record:
        return record["AccountId"] or ""
    account = record.get("Account", {})
    if account is None:
        return ""
    try:
        # The address of a record ends in its id: "/services/data/v67.0/sobjects/Account/001…".
        return account["attributes"]["url"].rpartition("/")[2] or None
    except (AttributeError, KeyError, TypeError):
        return None
