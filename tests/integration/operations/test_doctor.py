"""The doctor finds what was broken on purpose, reports the worst first, and reports nothing when nothing is wrong."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from google.protobuf.duration_pb2 import Duration
from pydantic import SecretStr
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import RemoveSearchAttributesRequest
from temporalio.api.workflowservice.v1 import UpdateNamespaceRequest

from closedwon import names
from closedwon.emulators.ports import free_port
from closedwon.emulators.salesforce.config import OrgConfig
from closedwon.emulators.salesforce.server import SalesforceEmulator
from closedwon.erp.breaker import PROBE, Phase
from closedwon.facts.readers import ReaderState, readers
from closedwon.names import OrderStage, sweep_schedule_id
from closedwon.operations import doctor, erps
from closedwon.operations.troubles import Harm, Trouble
from closedwon.settings import AlertSettings, Intake, Workers
from closedwon.temporal.queues import write_breaker_entry
from tests.support.breaker import Outage, until_phase
from tests.support.encryption import fresh_key, keyed
from tests.support.handoff import Handoff, handoff, until
from tests.support.intake import intake
from workers.sweeps import sync_schedules


async def _examine(
    world: Handoff, monkeypatch: pytest.MonkeyPatch, old: timedelta = timedelta(hours=1)
) -> dict[str, Trouble]:
    """What is wrong, by subject, the worst first."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", world.client.service_client.config.target_host)
    return {trouble.subject: trouble for trouble in await doctor.examine(world.settings, old=old)}


async def _keep_closed_workflows(world: Handoff, time: timedelta) -> None:
    ttl = Duration()
    ttl.FromTimedelta(time)
    await world.client.workflow_service.update_namespace(
        UpdateNamespaceRequest(
            namespace=world.client.namespace, config=NamespaceConfig(workflow_execution_retention_ttl=ttl)
        )
    )


async def test_nothing_is_found_where_nothing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A doctor who always finds something is not asked again."""
    async with handoff(sweep={}) as world, world.working():
        await _keep_closed_workflows(world, timedelta(days=7))
        await sync_schedules(world.client, world.settings)
        world.org.seed(1)
        await world.until_written_back(*world.org.win_next(1))
        assert {} == await _examine(world, monkeypatch)


async def test_what_waits_is_reported_with_its_reason_and_the_command_that_fixes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A refused order, a paused ERP, a namespace with a retention that is too short."""
    async with handoff(sweep={}) as world, world.working():
        await sync_schedules(world.client, world.settings)
        world.org.seed(1)
        world.erp.faults.reject = 1
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.ATTENTION)
        await erps.limit(world.client, "stub", 0, erps=["stub"], reason="closing", by="ada@desk")
        world.erp.faults.down = True

        found = await _examine(world, monkeypatch)

        assert {"erp-rejected", "erp stub", "retention"} == set(found)
        assert "closedwon orders retry --reason erp-rejected" in found["erp-rejected"].hint
        assert Harm.RISK is [*found.values()][-1].harm
        of_erp = [trouble for trouble in await doctor.examine(world.settings) if trouble.subject == "erp stub"]
        assert any("paused" in one.text and "closing; ada@desk" in one.text for one in of_erp)
        assert any("no answer" in one.text for one in of_erp)


async def test_where_each_order_needs_a_decision_of_its_own_no_command_for_all_is_suggested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`retry` would keep the order of each deal that no longer qualifies: it is not suggested for all."""
    async with handoff(grace=timedelta(0)) as world, world.working():
        await world.reopened_deal()
        hint = (await _examine(world, monkeypatch))["no-longer-qualifies"].hint

        assert "closedwon orders list --reason no-longer-qualifies" in hint
        assert "closedwon orders retry" not in hint


async def test_an_installation_whose_processes_are_gone_is_reported_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """No one has ever worked nor read the bus: that comes before all else."""
    async with handoff() as world:
        found = await _examine(world, monkeypatch)
        assert ["queue orders", "queue erp-stub", "queue erp", "queue subscriber", "events of org-0"] == [*found][:5]
        assert Harm.STOPPED is found["queue orders"].harm
        assert Harm.LOSS is found["events of org-0"].harm


async def test_an_intake_that_is_gone_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Salesforce pushes is lost after a day; whether intake listens is known only after a connection attempt."""
    port = free_port()
    async with handoff(events=(), outbound={}) as world, world.working(subscriber=False):
        intake = Intake(host="0.0.0.0", port=port, proxies=["10.0.0.0/8"], allow=["10.0.0.0/8"])  # noqa: S104 - no process listens there
        world.settings = world.settings.model_copy(update={"intake": intake})
        gone = (await _examine(world, monkeypatch))["intake"]
        assert (Harm.LOSS, True) == (gone.harm, "closedwon intake" in gone.hint)
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port):
            assert "intake" not in await _examine(world, monkeypatch)


async def test_an_intake_that_is_open_to_all_is_a_risk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allowed by the settings, and reported until somebody closes it."""
    async with handoff(callouts={"keys": [SecretStr("a key that both ends know, made for one test")]}) as world:
        async with intake(world) as address:
            opened = Intake(port=int(address.rpartition(":")[2]), allow=["::/0"])
            world.settings = world.settings.model_copy(update={"intake": opened})
            risk = (await _examine(world, monkeypatch))["intake"]
        assert (Harm.RISK, True) == (risk.harm, "`intake.allow` holds ::/0" in risk.text)


async def test_temporal_that_cannot_be_reached_is_reported_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that can still be examined is examined."""
    async with handoff() as world:
        world.erp.faults.down = True
        monkeypatch.setenv("TEMPORAL_ADDRESS", "localhost:1")
        found = await doctor.examine(world.settings)
        assert [Harm.STOPPED, Harm.WAITING] == [trouble.harm for trouble in found]
        assert ["temporal", "erp stub"] == [trouble.subject for trouble in found]


async def test_what_temporal_has_lost_is_reported_with_who_registers_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running processes do so by themselves, so no hint says to start one; an operator makes a namespace."""
    async with handoff(sweep={}) as world, world.working(subscriber=False):
        found = await _examine(world, monkeypatch)
        for subject in ("route won-0", "org org-0", "events of org-0"):
            assert "A running process registers" in found[subject].hint
        lost = RemoveSearchAttributesRequest(namespace=world.client.namespace, search_attributes=[names.ROUTE])
        await world.client.operator_service.remove_search_attributes(lost)

        async def is_reported() -> bool:
            return "temporal" in await _examine(world, monkeypatch)

        await until(is_reported)
        assert "A running process registers them" in (await _examine(world, monkeypatch))["temporal"].hint
        monkeypatch.setenv("TEMPORAL_NAMESPACE", "elsewhere")
        assert "temporal operator namespace create" in (await _examine(world, monkeypatch))["temporal"].hint


async def test_undelivered_alerts_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for alerts would take silence for good news."""
    async with handoff() as world:
        world.settings = world.settings.model_copy(
            update={"alerts": AlertSettings(webhook=SecretStr(f"http://localhost:{free_port()}"))}
        )
        async with world.working():
            world.org.seed(1)
            world.erp.faults.reject = 1
            world.org.win_next(1)

            async def is_reported() -> bool:
                return "alerts" in await _examine(world, monkeypatch, timedelta(0))

            await until(is_reported)
            assert "alerts" not in await _examine(world, monkeypatch)


async def test_a_sweep_that_does_not_take_place_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not scheduled, or paused by somebody: what is lost would not be found by itself."""
    async with handoff(sweep={}) as world, world.working(subscriber=False):
        assert "not scheduled" in (await _examine(world, monkeypatch))["route won-0"].text
        await sync_schedules(world.client, world.settings)
        assert "route won-0" not in await _examine(world, monkeypatch)
        schedule = world.client.get_schedule_handle(sweep_schedule_id(world.org.org_id, "won-0"))
        await schedule.pause(note="load test")
        assert "paused: load test" in (await _examine(world, monkeypatch))["route won-0"].text


async def test_a_route_that_is_not_swept_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """All seems well, and whatever is lost stays lost."""
    async with handoff() as world, world.working():
        found = (await _examine(world, monkeypatch))["route won-0"]
        assert (Harm.RISK, True, True) == (found.harm, "not swept" in found.text, "[routes.sweep]" in found.hint)


async def test_versioned_workers_without_a_current_build_are_reported_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They look alive, ask for work, and get none."""
    async with handoff() as world:
        workers = Workers(build_id="1.5.0")
        world.settings = world.settings.model_copy(update={"workers": workers})
        async with world.working():

            async def is_reported() -> bool:
                return "worker versions" in await _examine(world, monkeypatch)

            await until(is_reported)  # the workers have just begun to poll
            found = await _examine(world, monkeypatch)
            assert Harm.STOPPED is found["worker versions"].harm
            assert "set-current-version" in found["worker versions"].hint
            assert "--build-id 1.5.0" in found["worker versions"].hint


async def test_orders_that_wait_for_an_erp_that_is_away_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, not only when one of them is an hour old; and with the limit that the workers have set by themselves."""
    async with handoff() as world, world.working():
        world.org.seed(3)
        outage = Outage(world)
        await outage.begin()
        for record in await world.win(3):
            await world.until_stage(record, OrderStage.ORDERING)
        found = await _examine(world, monkeypatch)
        assert "no connection" in found["erp stub"].text
        assert found["ordering"].text.startswith("3 orders at the stage ordering, the oldest for")

        await write_breaker_entry(world.client, names.erp_queue("stub"), PROBE, reason="none connects", by="worker-1")
        await until_phase(world, Phase.PROBING)
        await outage.end()
        found = await _examine(world, monkeypatch)
        assert "not reached since" in found["erp stub"].text
        assert "closedwon erp resume stub" in found["erp stub"].hint
        assert "ordering" in found


async def test_an_order_that_waits_for_hours_says_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step, how often it was tried, and why it failed."""
    async with handoff() as world, world.working():
        world.org.seed(1)
        world.erp.faults.down = True
        (record,) = world.org.win_next(1)
        await until(lambda: world.erp.calls > 1)
        found = (await _examine(world, monkeypatch, old=timedelta(0)))["old orders"]
        assert f"order:{record}" in found.text
        assert "create-order, attempt" in found.text
        assert "no answer" in found.text
        assert "no worker" not in found.text


async def test_a_key_that_is_missing_is_reported_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Temporal holds cannot be read: that is a finding, not the end of the examination."""
    async with handoff(encryption=keyed(fresh_key("former"))) as world, world.working():

        async def heartbeats() -> bool:
            (reader,) = await readers(world.client, world.settings)
            return reader.state is ReaderState.READING

        await until(heartbeats)
        world.settings = world.settings.model_copy(update={"encryption": keyed(fresh_key("latter"))})
        assert "'former'" in (await _examine(world, monkeypatch))["encryption"].text


async def test_a_clock_that_is_wrong_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logins and signed callouts would fail, and the clock is rarely suspected."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(headers={"Date": format_datetime(datetime.now(UTC) - timedelta(minutes=5), usegmt=True)})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with handoff() as world, TestServer(application) as server:
        org = world.settings.orgs[0].model_copy(update={"url": str(server.make_url("")).rstrip("/")})
        world.settings = world.settings.model_copy(update={"orgs": (org,)})
        assert "s ahead of Salesforce's" in (await _examine(world, monkeypatch))["clock"].text


async def test_an_org_that_is_short_of_api_calls_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they are used up: then orders would wait."""
    async with SalesforceEmulator.running(config=OrgConfig(daily_api_requests=2)) as org, handoff(orgs=[org]) as world:
        found = await _examine(world, monkeypatch)
        assert any("of 2 API calls" in trouble.text for trouble in found.values()), found
