"""What a sweep makes of a record and of what the ERP knows: the whole table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from closedwon.ids import RecordId
from closedwon.model.erp import CANCELLED_UNQUALIFIED
from closedwon.model.erp_calls import KnownOrder
from closedwon.model.sweeps import SeenRecord
from workflows.sweep import is_missing, is_right

_ORDER = KnownOrder(number="22", cancelled=False)
_CANCELLED = KnownOrder(number="22", cancelled=True)
_UNNUMBERED = KnownOrder(number=None, cancelled=False)
_NOTHING: list[KnownOrder] = []


def _seen(**what: Any) -> SeenRecord:
    record = RecordId("006000000000001AAA")
    return SeenRecord(record=record, modified_at=datetime(2026, 11, 1, tzinfo=UTC), **{"qualifies": True, **what})


@pytest.mark.parametrize(
    ("record", "known", "right"),
    [
        ({"number": None}, _NOTHING, False),
        ({"number": None}, [_ORDER], False),  # its write-back is missing
        ({"number": "22"}, [_ORDER], True),
        ({"number": "22"}, _NOTHING, False),
        ({"number": "23"}, [_ORDER], False),
        ({"number": "22", "status": "confirmed"}, [_CANCELLED], False),  # a person must say which of the two holds
        ({"number": "22", "status": "confirmed"}, [_CANCELLED, _ORDER], True),
        ({"number": None, "status": "confirmed"}, [_UNNUMBERED], True),  # the ERP gives no numbers
        ({"number": None, "status": "confirmed"}, [_ORDER], False),
        ({"number": None}, [_UNNUMBERED], False),
        ({"number": None, "status": "cancelled", "is_proven": True}, _NOTHING, True),
        ({"number": None, "status": "not needed", "is_proven": True}, _NOTHING, True),
        ({"number": "22", "status": "cancelled", "is_proven": True}, _NOTHING, True),
        ({"number": "22", "status": "cancelled", "is_proven": True}, None, True),
        ({"number": None, "status": "cancelled"}, _NOTHING, False),  # copied, perhaps
        ({"number": "22", "status": "cancelled"}, None, False),
        ({"number": "22", "status": "not needed"}, _NOTHING, False),
        ({"number": "22", "status": "cancelled"}, [_CANCELLED], True),  # as its own order in the ERP says
        ({"number": "22", "status": "cancelled"}, [_ORDER], False),
        ({"number": "22", "status": "cancelled"}, [_CANCELLED, _ORDER], False),
        ({"number": "22", "status": "cancelled", "qualifies": False}, [_ORDER], False),
        ({"number": "22", "status": "cancelled", "qualifies": False}, [_CANCELLED], True),
        ({"number": "22", "status": "cancelled", "qualifies": False, "is_proven": True}, None, True),
        ({"number": "22", "status": CANCELLED_UNQUALIFIED, "qualifies": False}, None, False),
        ({"number": "22", "status": CANCELLED_UNQUALIFIED, "qualifies": False, "is_proven": True}, None, True),
        ({"number": "22", "status": CANCELLED_UNQUALIFIED, "is_proven": True}, [_CANCELLED], False),
        ({"number": "22", "status": CANCELLED_UNQUALIFIED, "deleted": True, "is_proven": True}, None, True),
        ({"number": "22", "status": "confirmed", "is_proven": True}, None, False),
        ({"number": "22", "deleted": True}, [_ORDER], False),
        ({"number": "22", "deleted": True}, [_CANCELLED], True),
        ({"number": None, "deleted": True}, _NOTHING, True),
        ({"number": None, "deleted": True}, [_ORDER], False),
        ({"number": "22", "qualifies": False}, [_ORDER], False),
        ({"number": "22", "qualifies": False}, [_CANCELLED, _ORDER], False),
        ({"number": "22", "qualifies": False}, _NOTHING, True),
        ({"number": "22", "status": CANCELLED_UNQUALIFIED}, [_CANCELLED], False),  # won again
        ({"number": "22", "status": CANCELLED_UNQUALIFIED, "qualifies": False}, [_CANCELLED], True),
    ],
)
def test_what_is_right(record: dict[str, Any], known: list[KnownOrder] | None, *, right: bool) -> None:
    """An order where one should be, under the number that the record shows, and none elsewhere."""
    assert right is is_right(_seen(**record), known, numbered=True)


@pytest.mark.parametrize(("known", "right"), [(_NOTHING, False), ([_ORDER], True), ([_CANCELLED], False)])
def test_where_no_number_is_written_back_the_erp_decides(known: list[KnownOrder], *, right: bool) -> None:
    """A route without `write_back.number` has records that show no number."""
    assert right is is_right(_seen(), known, numbered=False)
    assert not is_missing(_seen(), numbered=False)


@pytest.mark.parametrize(
    ("record", "missing"),
    [
        ({}, True),
        ({"number": "22"}, False),
        ({"deleted": True}, False),
        ({"qualifies": False}, False),
        ({"status": "cancelled"}, False),
        ({"status": "not needed"}, False),
        ({"status": "needs attention"}, True),
        ({"status": "confirmed"}, False),  # perhaps the ERP gives no numbers
        ({"number": "22", "status": CANCELLED_UNQUALIFIED}, True),
        ({"number": "22", "status": CANCELLED_UNQUALIFIED, "qualifies": False}, False),
    ],
)
def test_records_for_which_the_erp_need_not_be_asked(record: dict[str, Any], *, missing: bool) -> None:
    """A won deal without a number gets its workflow even while the ERP is away."""
    assert missing is is_missing(_seen(**record), numbered=True)
