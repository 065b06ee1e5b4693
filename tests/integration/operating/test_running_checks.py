"""The checks of running workers: what they find, what they leave as it is, and what they cost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from temporalio.common import MetricMeter

from activities.holds import HeldError, Holds
from closedwon import names, temporal
from closedwon.acceptance import order_start
from closedwon.erp.base import Erp
from closedwon.localorg.server import LocalOrg
from closedwon.model import Channel, Message
from closedwon.settings import RestErp
from closedwon.telemetry import Metrics
from tests.support import checks as support
from tests.support.handoff import Handoff, handoff, until
from workers.checks import INTERVAL, Checks, checking
from workers.connections import Connections

_NOOP = Metrics(MetricMeter.noop)


async def test_no_answer_is_no_failure_and_what_was_known_stays() -> None:
    """An outage of Salesforce and of the ERP holds nothing that was right, and releases nothing that was wrong."""
    async with handoff() as world, Connections(world.settings) as connections:
        holds = Holds()
        checks = Checks(world.client, world.settings, connections, holds, _NOOP)
        route = world.settings.routes[0]
        world.org.faults.down()
        world.erp.faults.down = True
        await checks.round()
        assert not checks.all_is_known
        holds.check(route)
        holds.check_erp("light")

        world.org.faults.clear()
        world.erp.faults.down = False
        await until(lambda: _passes(checks))
        with support.changed(world.org, "Opportunity", "ERP_Order_Link__c"):
            await checks.round()
            world.org.faults.down()
            await checks.round()
            with pytest.raises(HeldError, match="ERP_Order_Link__c"):
                holds.check(route)


async def _passes(checks: Checks) -> bool:
    await checks.round()
    return checks.all_is_known


async def test_an_erp_that_refuses_us_is_held_with_one_alert_and_released() -> None:
    """Its orders wait instead of each needing attention; orders go on with the right token."""
    async with handoff() as world, support.alerting(world) as hook:
        right = world.settings
        (erp,) = right.erps
        assert isinstance(erp, RestErp)
        wrong = erp.model_validate({**dict(erp), "token": type(erp.token)("wrong")})
        world.settings = right.model_copy(update={"erps": (wrong,)})
        world.org.seed(3)
        async with support.checked(world):
            won = await world.win(3)
            for record in won:
                await _until_held(world, names.order_workflow_id(world.org.org_id, record))
            await until(lambda: hook.taken)
        world.settings = right
        async with support.checked(world):
            await world.until_written_back(*won)
        assert 0 == await support.needed_attention(world)
        (alert,) = hook.taken
        assert ("check", "erp-auth-failed", "light", None) == (
            alert["kind"],
            alert["reason"],
            alert["erp"],
            alert["org"],
        )


async def _until_held(world: Handoff, workflow_id: str) -> None:
    async def is_held() -> bool:
        return "held: erp light: " in await support.waits_for(world, workflow_id)

    await until(is_held)


async def test_one_org_that_fails_holds_no_other() -> None:
    """Each org has its own verdict, and its own hold."""
    async with LocalOrg.running() as one, LocalOrg.running() as other, handoff(orgs=[one, other]) as world:
        other.seed(1)
        with support.changed(one, "Opportunity", "ERP_Order_Status__c"):
            async with support.checked(world, subscriber=False):
                (record,) = other.win_next(1)
                message = Message(id="m-1", channel=Channel.SWEEP, received_at=datetime.now(UTC))
                start = order_start(world.settings, world.settings.routes[1], record)
                await temporal.start_order(world.client, start, message)
                await until(lambda: world.number_of(record, other))
                await support.until_held(world, names.hold_workflow_id("fields", one.org_id))


async def test_a_round_costs_five_calls_per_org_and_the_next_ones_as_many() -> None:
    """A describe for each object that is read, and a query; a login costs none."""
    async with handoff() as world, Connections(world.settings) as connections:
        checks = Checks(world.client, world.settings, connections, Holds(), _NOOP)
        for number in (1, 2):
            await checks.round()
            assert 5 * number == world.org.api_calls.total() == connections.salesforce[world.org.org_id].calls


async def test_rounds_go_on_and_a_check_that_breaks_stops_nothing() -> None:
    """Every 15 minutes; sooner while something is not known, or has just begun to fail."""
    waited: list[timedelta] = []
    go_on = asyncio.Event()

    async def wait(time: timedelta) -> None:
        waited.append(time)
        await go_on.wait()
        go_on.clear()

    async with handoff() as world, Connections(world.settings) as connections:
        holds, erp = Holds(), _Breaking()
        connections.erps["light"] = cast("Erp", erp)
        checks = Checks(world.client, world.settings, connections, holds, _NOOP)

        async def next_round() -> None:
            number = len(waited)
            go_on.set()
            await until(lambda: len(waited) > number)

        async with checking(checks, wait=wait):
            await until(lambda: waited)
            erp.is_broken = True
            await next_round()
            erp.is_broken = False
            await next_round()
            with support.changed(world.org, "Opportunity", "ERP_Order_Link__c"):
                await next_round()
                await next_round()
        minute = timedelta(minutes=1)
        assert [INTERVAL, minute, INTERVAL, minute, INTERVAL] == waited
        holds.check_erp("light")


class _Breaking:
    """An ERP whose check has a fault of its own."""

    is_broken = False

    async def check(self) -> str:
        if self.is_broken:
            raise ZeroDivisionError
        return "well"

    async def close(self) -> None:
        """Nothing is open."""
