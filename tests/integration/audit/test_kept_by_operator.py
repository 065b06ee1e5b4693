"""An order that an operator keeps although its deal no longer qualifies: the audit accepts that."""

from __future__ import annotations

from datetime import timedelta

from closedwon.audit.compare import FindingKind
from closedwon.audit.repair import repair
from tests.support.handoff import handoff, until


async def test_an_order_that_an_operator_keeps_is_not_a_finding() -> None:
    """It is a finding before the operator's `retry`; afterwards the audit is clean, and `--fix` starts nothing."""
    async with handoff(grace=timedelta(0)) as world, world.working():
        record = await world.reopened_deal()
        await until(lambda: bool(world.org.get("Opportunity", record)["ERP_Order_Error__c"]))
        asked = await world.audit()
        await world.order(record).signal("retry", "it is delivered already")
        await world.order(record).result()
        decided = await world.audit()
        started = await repair(world.settings, world.client, decided)

    assert [FindingKind.ORDER_WITHOUT_DEAL] == [one.kind for one in asked.findings]
    assert (True, 0, 0) == (decided.clean, decided.counts.duplicates, started)
