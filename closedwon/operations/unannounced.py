"""Notices records that qualified lately and of which no event came: the flow is inactive, or publishes as a user.

An inactive flow causes no error anywhere: Salesforce deploys flows to production as inactive, and sweeps find the deals
later. So the newest record that must have an event is looked for among the events that the bus has retained. Reading
them costs deliveries, so at most some thousand are read; a bus that holds so many is alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from closedwon.errors import ClosedwonError
from closedwon.ids import InvalidIdError, RecordId
from closedwon.mapping.orders import MappingError, record_id_of
from closedwon.operations.checks import CheckFinding
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.salesforce.api.scan import soql_time
from closedwon.salesforce.bus.events import EARLIEST, Event, EventStream
from closedwon.settings import Route, Settings
from workers.connections import Connections

_RETAINED: Final = timedelta(hours=70)
"""Events are kept for 72 hours; a record that qualified within this time must have one."""
_ARRIVES_WITHIN: Final = timedelta(minutes=2)
_MOST_EVENTS: Final = 2_000
_QUIET: Final = 3.0
"""Seconds without a batch after which all retained events were read: a poll answers at once while there are some."""
_LONGEST: Final = 30.0
"""Seconds for one route."""
_STAGE_CHANGED: Final = "LastStageChangeDate"
"""Of Opportunity: when it was won. Source: Object Reference, "Opportunity"."""


async def unannounced(settings: Settings, connections: Connections) -> AsyncIterator[CheckFinding]:
    """Yield a warning for each route whose newest qualifying record has no event. What cannot be asked is left out."""
    for route in settings.routes:
        if route.events and route.sweep_where is not None:
            org = settings.org(route.org).id
            try:
                record = await _newest(route, connections.salesforce[org])
                if record is None:
                    continue
                stream = connections.open_stream(org)
                try:
                    found = await _has_event(route, record, stream)
                finally:
                    await stream.close()
            except ClosedwonError:  # the other checks report it
                continue
            if not found:
                yield _warning(route, record)


async def _newest(route: Route, client: SalesforceClient) -> RecordId | None:
    """The newest record that began to qualify while events are retained; None if there is none."""
    described = await client.describe(route.object)
    began = _STAGE_CHANGED if _STAGE_CHANGED in described.fields else "CreatedDate"
    now = datetime.now(UTC)
    soql = (
        f"SELECT Id FROM {route.object} WHERE ({route.sweep_where}) AND {began} >= {soql_time(now - _RETAINED)} "  # noqa: S608 - from our settings, and times
        f"AND SystemModstamp < {soql_time(now - _ARRIVES_WITHIN)} ORDER BY SystemModstamp DESC LIMIT 1"
    )
    found: list[dict[str, Any]] = await client.query(soql)
    return RecordId(found[0]["Id"]) if found else None


async def _has_event(route: Route, record: RecordId, stream: EventStream) -> bool:
    """Whether an event about the record is retained; also True if that cannot be known with few events."""
    read = 0
    try:
        async with asyncio.timeout(_LONGEST):
            await stream.subscribe(route.events[0], EARLIEST)
            batches = aiter(stream.batches())
            while read < _MOST_EVENTS:
                try:
                    async with asyncio.timeout(_QUIET):
                        batch = await anext(batches)
                except TimeoutError:
                    return False
                if any(_is_about(route, event, record) for event in batch.events):
                    return True
                read += len(batch.events)
    except TimeoutError:
        pass
    return True


def _is_about(route: Route, event: Event, record: RecordId) -> bool:
    try:
        return record_id_of(route, event.payload or {}) == record
    except (MappingError, InvalidIdError):
        return False


def _warning(route: Route, record: RecordId) -> CheckFinding:
    return CheckFinding(
        f"events of {route.name}",
        f"{route.object} {record} qualified within the last three days, and no event about it is on {route.events[0]}",
        warns=True,
        hint="Activate the flow (Setup → Flows): production deploys flows as inactive. Apex must publish in system "
        "mode. `closedwon org certify` tests both.",
    )
