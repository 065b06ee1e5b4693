"""Deletes what a run has made, and says what it could not delete, and what no one can."""

from __future__ import annotations

import asyncio
from typing import Final

from closedwon.certify.org.bench import DEAL, OrgBench
from closedwon.errors import ClosedwonError, RetryError
from closedwon.ids import RecordId
from closedwon.model.base import Frozen
from closedwon.salesforce.errors import RecordGoneError

REMAINS: Final = (
    "Deleted test deals stay in the recycle bin for 15 days.",
    (
        "Their events stay on the bus for 72 hours: Closedwon finds their deals deleted, and orders nothing; if "
        "the check `deleted` failed, they need attention (`record-not-found`), and `skip` ends that."
    ),
    "Outbound messages and callouts that no check waited for are sent again for 24 hours.",
)
"""What cannot be cleaned up by anyone."""
_TOMBSTONE: Final = "Deleted_Record__c"
_TRIES: Final = 3
_PAUSE: Final = 1.0
"""Seconds."""


class LeftRecord(Frozen):
    """A record that could not be deleted."""

    object: str
    id: str
    why: str


async def clean_up(bench: OrgBench) -> tuple[int, list[LeftRecord]]:
    """Delete all deals of the run, and the tombstones of deleted ones. Return the number of deals, and what is left."""
    await bench.created()
    left: list[LeftRecord] = []
    try:
        found = await bench.query(f"SELECT Id FROM {DEAL} WHERE Name LIKE '{bench.name}%'")  # noqa: S608 - our own name
        bench.deals |= {RecordId(one["Id"]) for one in found}
    except ClosedwonError as error:
        left.append(LeftRecord(object=DEAL, id=f"{bench.name} …", why=f"they could not be looked for: {error}"))
    for record in sorted(bench.deals):
        left += await _delete(bench, DEAL, record)
    for record in await _tombstones(bench):
        left += await _delete(bench, _TOMBSTONE, record)
    gone = bench.deals - {one.id for one in left}
    return len(gone), left


async def _tombstones(bench: OrgBench) -> list[RecordId]:
    """The tombstones of the run's deals; none in an org that has no such object."""
    tombstone = bench.plan.route.outbound.tombstone if bench.plan.route.outbound is not None else None
    field = tombstone.record_id if tombstone is not None else "Record_Id__c"
    if not bench.deals:
        return []
    ids = ", ".join(f"'{record}'" for record in sorted(bench.deals))
    try:
        found = await bench.query(f"SELECT Id FROM {_TOMBSTONE} WHERE {field} IN ({ids})")  # noqa: S608 - checked ids
    except ClosedwonError:
        return []
    return [RecordId(one["Id"]) for one in found]


async def _delete(bench: OrgBench, object_name: str, record: RecordId) -> list[LeftRecord]:
    why = ""
    for _ in range(_TRIES):
        try:
            await bench.delete(object_name, record)
        except RecordGoneError:
            return []
        except RetryError as error:
            why = str(error)
            await asyncio.sleep(_PAUSE)
        except ClosedwonError as error:
            why = str(error)
            break
        else:
            return []
    return [LeftRecord(object=object_name, id=record, why=why)]
