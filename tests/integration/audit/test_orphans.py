"""Customers that were made for an order, and have none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from temporalio.testing import WorkflowEnvironment

from closedwon.audit.collect import audit
from closedwon.audit.compare import FindingKind
from closedwon.erp.rest import RestAdapter
from closedwon.ids import RecordId
from closedwon.settings import RestErp
from tests.support.handoff import handoff
from workers.connections import Connections


class MakingCustomers(RestAdapter):
    """An ERP in which one customer is left over."""

    async def orphans(self, since: datetime, until: datetime) -> AsyncIterator[RecordId]:
        assert since < until
        yield RecordId("001000000000001")


async def test_a_customer_without_an_order_is_found(temporal_server: WorkflowEnvironment) -> None:
    """If the adapter creates customers, a full audit reports those without an order by their Account."""
    since = datetime.now(UTC) - timedelta(hours=1)
    async with handoff(temporal_server=temporal_server) as world, Connections(world.settings) as connections:
        (erp,) = world.settings.erps
        assert isinstance(erp, RestErp)
        await connections.erps["stub"].close()
        connections.erps["stub"] = MakingCustomers(erp)
        whole = await audit(world.settings, connections, world.client, since=since)
        one_route = await audit(world.settings, connections, world.client, since=since, route="won-0")
        await connections.erps["stub"].close()

    assert [(FindingKind.ORPHANED_CUSTOMER, RecordId("001000000000001"))] == [
        (one.kind, one.record) for one in whole.findings
    ]
    assert one_route.clean
