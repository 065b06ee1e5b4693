"""Deletes what a run has made, and says what it could not delete, and what no one can."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

from closedwon.certify.org.bench import DEAL, OrgBench
from closedwon.errors import ClosedwonError, RetryError
from closedwon.expressions import paths
from closedwon.ids import RecordId
from closedwon.mapping.orders import deleted_record_of
from closedwon.model.base import Frozen
from closedwon.salesforce.api.scan import soql_time
from closedwon.salesforce.errors import RecordGoneError
from closedwon.settings import Tombstone

REMAINS: Final = (
    "Deleted test deals stay in the recycle bin for 15 days.",
    (
        "Their events stay on the bus for 72 hours: Closedwon finds their deals deleted, and orders nothing; if "
        "the check `deleted` failed, they need attention (`record-not-found`), and `skip` ends that."
    ),
    "Outbound messages and callouts that no check waited for are sent again for 24 hours.",
)
"""What cannot be cleaned up by anyone."""
_PACKAGED: Final = Tombstone(object="Deleted_Record__c", record_id="Record_Id__c")
"""Of deploy/salesforce, for a route that does not name another."""
_CLOCK_ERROR: Final = timedelta(days=1)
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
    object_name, tombstones, problems = await _tombstones(bench)
    left += problems
    for record in tombstones:
        left += await _delete(bench, object_name, record, is_there=True)
    gone = bench.deals - {one.id for one in left}
    return len(gone), left


async def _tombstones(bench: OrgBench) -> tuple[str, list[RecordId], list[LeftRecord]]:
    """The object and the ids of the tombstones of the run's deals, and why they could not be looked for.

    The person who deletes a deal needs no right on its tombstone: the integration user looks then.
    """
    configured = bench.plan.route.outbound.tombstone if bench.plan.route.outbound is not None else None
    sought = configured or _PACKAGED
    if not bench.deals:
        return sought.object, [], []
    fields = ", ".join(sorted({"Id", *paths(sought.record_id)}))
    since = soql_time(bench.started_at - _CLOCK_ERROR)
    soql = f"SELECT {fields} FROM {sought.object} WHERE SystemModstamp >= {since}"  # noqa: S608 - settings
    try:
        found = await _by_either(bench, soql)
    except ClosedwonError as error:
        if configured is None:  # most likely the org has no such object
            return sought.object, [], []
        why = f"tombstones of the deals could not be looked for: {error}"
        return sought.object, [], [LeftRecord(object=sought.object, id=f"{bench.name} …", why=why)]
    return sought.object, [RecordId(one["Id"]) for one in found if _is_about(bench, sought, one)], []


async def _by_either(bench: OrgBench, soql: str) -> list[dict[str, Any]]:
    """Query as the person, or else as the integration user. Raises the error of the latter."""
    try:
        return await bench.query(soql)
    except ClosedwonError:
        return await bench.integration.query(soql)


def _is_about(bench: OrgBench, sought: Tombstone, fields: dict[str, Any]) -> bool:
    try:
        return deleted_record_of(bench.plan.route, sought, fields) in bench.deals
    except ClosedwonError:  # of another object, or incomplete
        return False


async def _delete(bench: OrgBench, object_name: str, record: RecordId, *, is_there: bool = False) -> list[LeftRecord]:
    """`is_there`: it was just found; to a person without any right on it, it does not exist."""
    why = ""
    for _ in range(_TRIES):
        try:
            await bench.delete(object_name, record)
        except RecordGoneError as error:
            if not is_there or why:  # `why`: an earlier try has deleted it, and its answer was lost
                return []
            why = f"the person may not see it: {error}"
            break
        except RetryError as error:
            why = str(error)
            await asyncio.sleep(_PAUSE)
        except ClosedwonError as error:
            why = str(error)
            break
        else:
            return []
    return [LeftRecord(object=object_name, id=record, why=why)]
