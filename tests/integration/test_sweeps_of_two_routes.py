"""Two routes over one object: neither sweep touches the deals of the other."""

from __future__ import annotations

from datetime import timedelta

from closedwon import names
from closedwon.audit.compare import FindingKind
from closedwon.settings import Route
from tests.support.handoff import handoff, until
from tests.support.sweeps import AT_ONCE, sweep


async def test_a_sweep_does_not_take_a_deal_of_another_route_for_a_reopened_one() -> None:
    """To the second route each deal of the first is one that carries a number and does not qualify."""
    async with handoff(sweep=AT_ONCE, grace=timedelta(0)) as world:
        (first,) = world.settings.routes
        other = {"name": "other", "events": (), "qualify": "Name == 'nothing'", "on_unqualified": "cancel"}
        fields = first.model_dump() | other | {"sweep": AT_ONCE | {"where": "Name = 'nothing'"}}
        world.settings = world.settings.model_copy(update={"routes": (Route.model_validate(fields), first)})
        async with world.working(subscriber=False):
            world.org.seed(1)
            (record,) = await world.win(1)
            await until(lambda: bool(world.number_of(record)))
            won = await sweep(world, route="other")
            world.org.update("Opportunity", record, StageName="Negotiation/Review")
            reopened = await sweep(world, route="other")
            report = await world.audit()
            await sweep(world, route=first.name)
            await world.until_stage(record, names.OrderStage.ATTENTION)
            orders = [order["status"] for order in world.erp.orders()]

    assert (0, 0) == (won.found, reopened.started)
    assert [(FindingKind.ORDER_WITHOUT_DEAL, first.name)] == [(one.kind, one.route) for one in report.findings]
    assert ["confirmed"] == orders
