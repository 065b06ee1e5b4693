"""An order that a person lets live though its deal was taken back: the audit respects that."""

from __future__ import annotations

from datetime import timedelta

from closedwon.audit.judge import Kind
from closedwon.audit.mend import mend
from tests.support.handoff import handoff, until


async def test_an_order_that_a_person_lets_live_is_no_disagreement() -> None:
    """Before, it is told; after a person's `retry` the audit is content, and `--fix` has nothing to start."""
    async with handoff(grace=timedelta(0)) as world, world.working():
        record = await world.taken_back()
        await until(lambda: bool(world.org.get("Opportunity", record)["ERP_Order_Error__c"]))
        asked = await world.audit()
        await world.order(record).signal("retry", "it is delivered already")
        await world.order(record).result()
        decided = await world.audit()
        started = await mend(world.settings, world.client, decided)

    assert [Kind.ORDER_WITHOUT_DEAL] == [one.kind for one in asked.findings]
    assert (True, 0, 0) == (decided.clean, decided.counts.doubled, started)
