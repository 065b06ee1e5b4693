"""Two routes over one object: neither sweep touches the deals of the other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from closedwon import names, temporal
from closedwon.audit.judge import Kind
from closedwon.model import Reconciliation, SweepProgress
from closedwon.settings import Route
from tests.support.handoff import Handoff, handoff, until

_AT_ONCE = {"lag": 0, "overlap": 0}


async def _sweep(world: Handoff, route: str) -> SweepProgress:
    since, to = datetime.now(UTC) - timedelta(days=3650), datetime.now(UTC) + timedelta(days=1)
    start = Reconciliation(org=world.org.org_id, route=route, since=since, until=to)
    workflow_id = names.sweep_workflow_id(start.org, route, since, to, dry_run=False)
    await temporal.start_sweep(world.client, start, workflow_id)
    found: SweepProgress = await world.client.get_workflow_handle(workflow_id, result_type=SweepProgress).result()
    return found


async def test_a_sweep_takes_no_deal_of_another_route_for_one_that_was_taken_back() -> None:
    """To the second route each deal of the first is one that carries a number and does not qualify."""
    async with handoff(sweep=_AT_ONCE, grace=timedelta(0)) as world:
        (first,) = world.settings.routes
        other = {"name": "other", "events": (), "qualify": "Name == 'nothing'", "unwon": "cancel"}
        fields = first.model_dump() | other | {"sweep": _AT_ONCE | {"where": "Name = 'nothing'"}}
        world.settings = world.settings.model_copy(update={"routes": (Route.model_validate(fields), first)})
        async with world.working(subscriber=False):
            world.org.seed(1)
            (record,) = await world.win(1)
            await until(lambda: bool(world.number_of(record)))
            won = await _sweep(world, "other")
            world.org.update("Opportunity", record, StageName="Negotiation/Review")
            taken_back = await _sweep(world, "other")
            report = await world.audit()
            await _sweep(world, first.name)
            await world.until_stage(record, names.OrderStage.ATTENTION)
            orders = [order["status"] for order in world.erp.orders()]

    assert (0, 0) == (won.found, taken_back.started)
    assert [(Kind.ORDER_WITHOUT_DEAL, first.name)] == [(one.kind, one.route) for one in report.findings]
    assert ["confirmed"] == orders
