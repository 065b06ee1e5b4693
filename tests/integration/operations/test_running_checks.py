"""The checks of running workers: what they find, what they leave as it is, and what they cost."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from temporalio.common import MetricMeter
from temporalio.service import RPCError

from activities import failures
from activities.doubts import Doubts
from activities.holds import HeldError, Holds
from closedwon import names
from closedwon.acceptance import order_start
from closedwon.emulators.salesforce.server import SalesforceEmulator
from closedwon.erp.base import Erp
from closedwon.ids import RecordId
from closedwon.model.messages import Message
from closedwon.model.routes import Channel
from closedwon.settings import RestErp, TelemetrySettings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.orders import start_order
from tests.support import checks as support
from tests.support.handoff import Handoff, handoff, until
from workers import process
from workers.checks import INTERVAL, Checks, checking
from workers.connections import Connections
from workers.running_checks import of_systems

_NOOP = Metrics(MetricMeter.noop)


async def test_without_an_answer_the_last_result_stays() -> None:
    """An outage of Salesforce and of the ERP holds nothing that was right, and releases nothing that was wrong."""
    async with handoff() as world, Connections(world.settings) as connections:
        holds = Holds()
        checks = Checks(world.client, of_systems(world.settings, connections), holds, _NOOP)
        route = world.settings.routes[0]
        world.org.faults.down()
        world.erp.faults.down = True
        await checks.round()
        assert not checks.all_is_known
        holds.check(route)
        holds.check_erp("stub")

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
        assert ("check", "erp-auth-failed", "stub", None) == (
            alert["kind"],
            alert["reason"],
            alert["erp"],
            alert["org"],
        )


async def _until_held(world: Handoff, workflow_id: str) -> None:
    async def is_held() -> bool:
        return "held: erp stub: " in await support.waits_for(world, workflow_id)

    await until(is_held)


async def test_a_process_with_other_settings_that_passes_makes_no_second_alert_of_one_failure() -> None:
    """The passing one closes the hold for all; the failing one opens it again, and the failure was alerted already."""
    async with handoff() as world, support.alerting(world) as hook:
        right = world.settings
        route = right.routes[0].model_copy(update={"qualify": "isWon"})
        world.settings = right.model_copy(update={"routes": (route,)})
        async with support.checked(world) as failing:
            hold = names.hold_workflow_id("fields", world.org.org_id)
            await support.until_held(world, hold)
            await until(lambda: hook.taken)
            world.settings = right
            async with support.another(world):
                await support.until_held(world)
            await failing.round()
            await support.until_held(world, hold)
            await until(lambda: _has_run(world, hold))
            history = await world.client.get_workflow_handle(hold).fetch_history()
            assert not [one for one in history.events if one.HasField("activity_task_scheduled_event_attributes")]
            (alert,) = hook.taken
            assert "isWon" in alert["sentence"]


async def test_another_failure_after_a_hold_is_alerted() -> None:
    """It is not the one that was alerted before."""
    async with handoff() as world, support.alerting(world) as hook, support.checked(world) as checks:
        with support.changed(world.org, "Opportunity", "ERP_Order_Link__c"):
            await checks.round()
            await until(lambda: hook.taken)
        await checks.round()
        await support.until_held(world)
        with support.changed(world.org, "Opportunity", "ERP_Order_Status__c"):
            await checks.round()
            await until(lambda: 2 == len(hook.taken))
        await checks.round()
        await support.until_held(world)


async def _has_run(world: Handoff, workflow_id: str) -> bool:
    """Whether a hold has run: by then it has asked for its alert, if it asks for one."""
    history = await world.client.get_workflow_handle(workflow_id).fetch_history()
    return any(event.HasField("workflow_task_completed_event_attributes") for event in history.events)


async def test_orders_that_a_renamed_field_refuses_between_rounds_wait_for_the_check() -> None:
    """Ten orders meet it at once: one round of checks is made, none of them needs a person, all go on by themselves."""
    async with handoff() as world, support.alerting(world) as hook, support.checked(world) as checks:
        world.org.seed(10)
        with support.changed(world.org, "Opportunity", "ERP_Order_Number__c"):
            won = await world.win(10)
            for record in won:
                await _until_org_is_held(world, names.order_workflow_id(world.org.org_id, record))
            await until(lambda: hook.taken)
        await checks.round()
        await world.until_written_back(*won)
        assert 0 == await support.needed_attention(world)
        (alert,) = hook.taken
        assert "ERP_Order_Number__c" in alert["sentence"]


@pytest.mark.usefixtures("logging_as_before")
async def test_a_process_checks_an_org_that_refuses_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `closedwon run` puts its parts together; its next round is a quarter of an hour away."""
    async with handoff() as world:
        monkeypatch.setenv("TEMPORAL_ADDRESS", world.client.service_client.config.target_host)
        settings = world.settings.model_copy(update={"telemetry": TelemetrySettings(port=0)})
        world.org.seed(2)
        running = asyncio.create_task(process.run(settings, [process.Role.ORDERS]))
        try:
            await world.until_written_back(*await world.win(1))
            with support.changed(world.org, "Opportunity", "ERP_Order_Number__c"):
                (record,) = await world.win(1)
                await _until_org_is_held(world, names.order_workflow_id(world.org.org_id, record))
                await support.until_held(world, names.hold_workflow_id("fields", world.org.org_id))
        finally:
            signal.raise_signal(signal.SIGTERM)
            await running


async def test_a_write_back_that_a_changed_right_refuses_waits_for_the_check_as_well() -> None:
    """The order exists in the ERP by then; its number comes when our user may write it."""
    async with handoff() as world, support.checked(world) as checks:
        world.org.seed(1)
        with support.changed(world.org, "Opportunity", "ERP_Order_Link__c", writable=False):
            (record,) = await world.win(1)
            await _until_org_is_held(world, names.order_workflow_id(world.org.org_id, record))
            assert 1 == len(world.erp.orders())
        await checks.round()
        await world.until_written_back(record)
        assert 0 == await support.needed_attention(world)


async def _waits_for(world: Handoff, record: RecordId, text: str) -> bool:
    return text in await support.waits_for(world, names.order_workflow_id(world.org.org_id, record))


async def _until_org_is_held(world: Handoff, workflow_id: str) -> None:
    async def is_held() -> bool:
        try:
            return "held: org org-0" in await support.waits_for(world, workflow_id)
        except RPCError:  # its message has not arrived yet
            return False

    await until(is_held)


async def test_p11_an_org_that_refuses_whole_calls_is_held_before_an_order_needs_a_person(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A code that is new, for every call: it may end by itself, so nothing is held before ten minutes."""
    now = [0.0]
    monkeypatch.setattr(failures, "_doubts", Doubts(lambda: now[0]))
    async with handoff() as world, support.alerting(world) as hook:
        async with support.checked(world, clock=lambda: now[0]) as checks:
            world.org.seed(3)
            world.org.faults.rest_error("A_CODE_OF_2031", times=100_000, status=400)
            won = await world.win(3)
            for record in won:
                await until(lambda: _waits_for(world, record, "A_CODE_OF_2031"))  # noqa: B023 - awaited here
            assert not await support.holds(world)
            now[0] = 601.0
            await checks.round()
            for record in won:
                await world.order(record).signal(names.SIGNAL_RETRY)
                await _until_org_is_held(world, names.order_workflow_id(world.org.org_id, record))
            await until(lambda: hook.taken)
            world.org.faults.clear()
            await checks.round()
            for record in won:
                await world.order(record).signal(names.SIGNAL_RETRY)
            await world.until_written_back(*won)
        assert 0 == await support.needed_attention(world)
        (alert,) = hook.taken
        assert ("check", "salesforce-rejected", world.org.org_id) == (alert["kind"], alert["reason"], alert["org"])


async def test_one_org_that_fails_holds_no_other() -> None:
    """Each org has its own verdict, and its own hold."""
    async with (
        SalesforceEmulator.running() as one,
        SalesforceEmulator.running() as other,
        handoff(orgs=[one, other]) as world,
    ):
        other.seed(1)
        with support.changed(one, "Opportunity", "ERP_Order_Status__c"):
            async with support.checked(world, subscriber=False):
                (record,) = other.win_next(1)
                message = Message(id="m-1", channel=Channel.SWEEP, received_at=datetime.now(UTC))
                start = order_start(world.settings, world.settings.routes[1], record)
                await start_order(world.client, start, message)
                await until(lambda: world.number_of(record, other))
                await support.until_held(world, names.hold_workflow_id("fields", one.org_id))


async def test_a_round_costs_five_calls_per_org_and_the_next_ones_as_many() -> None:
    """A describe for each object that is read, and a query; a login costs none."""
    async with handoff() as world, Connections(world.settings) as connections:
        checks = Checks(world.client, of_systems(world.settings, connections), Holds(), _NOOP)
        for number in (1, 2):
            await checks.round()
            assert 5 * number == world.org.api_calls.total() == connections.salesforce[world.org.org_id].calls


async def test_rounds_go_on_and_a_check_that_breaks_stops_nothing() -> None:
    """Every 15 minutes; each minute while something is not known; after 10, 20, 40 seconds while it fails."""
    waited: list[timedelta] = []
    go_on = asyncio.Event()

    async def wait(time: timedelta) -> None:
        waited.append(time)
        await go_on.wait()
        go_on.clear()

    async with handoff() as world, Connections(world.settings) as connections:
        holds, erp = Holds(), _Breaking()
        await connections.erps["stub"].close()
        connections.erps["stub"] = cast("Erp", erp)
        checks = Checks(world.client, of_systems(world.settings, connections), holds, _NOOP)

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
            await next_round()
        minute = timedelta(minutes=1)
        ten, twenty = timedelta(seconds=10), timedelta(seconds=20)
        assert [INTERVAL, minute, INTERVAL, ten, twenty, INTERVAL] == waited
        holds.check_erp("stub")


class _Breaking:
    """An ERP whose check has a fault of its own."""

    is_broken = False

    async def check(self) -> str:
        if self.is_broken:
            raise ZeroDivisionError
        return "well"

    async def close(self) -> None:
        """Nothing is open."""
