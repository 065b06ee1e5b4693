"""The doctor finds what was broken on purpose, tells the worst first, and is content when nothing is wrong."""

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
from temporalio.api.workflowservice.v1 import UpdateNamespaceRequest

from closedwon.localorg.config import OrgConfig
from closedwon.localorg.server import LocalOrg
from closedwon.names import OrderStage, sweep_schedule_id
from closedwon.operating import doctor, erps, overview
from closedwon.operating.doctor import Harm, Trouble
from closedwon.settings import Alerts, Intake, Workers
from tests.support.encryption import fresh_key, keyed
from tests.support.handoff import Handoff, handoff, until
from tests.support.intake import intake
from tests.support.servers import free_port
from workers.sweeps import keep_schedules


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
        await keep_schedules(world.client, world.settings)
        world.org.seed(1)
        await world.until_written_back(*world.org.win_next(1))
        assert {} == await _examine(world, monkeypatch)


async def test_what_waits_is_told_with_its_reason_and_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A refused order, a paused ERP that answers nobody, a namespace that forgets too soon."""
    async with handoff(sweep={}) as world, world.working():
        await keep_schedules(world.client, world.settings)
        world.org.seed(1)
        world.erp.faults.reject = 1
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.ATTENTION)
        await erps.limit(world.client, "light", 0, erps=["light"], reason="closing", by="ada@desk")
        world.erp.faults.down = True

        found = await _examine(world, monkeypatch)

        assert {"erp-rejected", "erp light", "retention"} == set(found)
        assert "closedwon orders retry --reason erp-rejected" in found["erp-rejected"].cure
        assert Harm.RISK is [*found.values()][-1].harm
        told = [trouble for trouble in await doctor.examine(world.settings) if trouble.subject == "erp light"]
        assert any("paused" in one.text and "closing; ada@desk" in one.text for one in told)
        assert any("no answer" in one.text for one in told)


async def test_where_each_order_needs_a_decision_of_its_own_no_command_for_all_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`retry` would let the order of each deal live that was taken back: nobody is told to type that for all."""
    async with handoff(grace=timedelta(0)) as world, world.working():
        await world.taken_back()
        cure = (await _examine(world, monkeypatch))["deal-unwon"].cure

        assert "closedwon orders list --reason deal-unwon" in cure
        assert "closedwon orders retry" not in cure


async def test_an_installation_whose_processes_are_gone_is_told_so_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has ever worked nor read the bus: that comes before all else."""
    async with handoff() as world:
        found = await _examine(world, monkeypatch)
        assert ["queue orders", "queue erp-light", "queue erp", "queue subscriber", "events of org-0"] == [*found][:5]
        assert Harm.STOPPED is found["queue orders"].harm
        assert Harm.LOSS is found["events of org-0"].harm


async def test_an_intake_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Salesforce pushes is lost after a day; whether somebody listens is seen by trying, and only then told."""
    port = free_port()
    async with handoff(events=(), outbound={}) as world, world.working(subscriber=False):
        intake = Intake(host="0.0.0.0", port=port, proxies=["10.0.0.0/8"], allow=["10.0.0.0/8"])  # noqa: S104 - nobody listens there
        world.settings = world.settings.model_copy(update={"intake": intake})
        gone = (await _examine(world, monkeypatch))["intake"]
        assert (Harm.LOSS, True) == (gone.harm, "closedwon intake" in gone.cure)
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


async def test_temporal_that_cannot_be_reached_is_the_first_thing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """All else that could be asked is asked all the same."""
    async with handoff() as world:
        world.erp.faults.down = True
        monkeypatch.setenv("TEMPORAL_ADDRESS", "localhost:1")
        found = await doctor.examine(world.settings)
        assert [Harm.STOPPED, Harm.WAITING] == [trouble.harm for trouble in found]
        assert ["temporal", "erp light"] == [trouble.subject for trouble in found]


async def test_alerts_that_nobody_takes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for alerts would take silence for good news."""
    async with handoff() as world:
        world.settings = world.settings.model_copy(
            update={"alerts": Alerts(webhook=SecretStr(f"http://localhost:{free_port()}"))}
        )
        async with world.working():
            world.org.seed(1)
            world.erp.faults.reject = 1
            world.org.win_next(1)

            async def is_told() -> bool:
                return "alerts" in await _examine(world, monkeypatch, timedelta(0))

            await until(is_told)
            assert "alerts" not in await _examine(world, monkeypatch)


async def test_a_sweep_that_does_not_take_place_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not scheduled, or paused by somebody: what is lost would not be found by itself."""
    async with handoff(sweep={}) as world, world.working(subscriber=False):
        assert "not scheduled" in (await _examine(world, monkeypatch))["route won-0"].text
        await keep_schedules(world.client, world.settings)
        assert "route won-0" not in await _examine(world, monkeypatch)
        schedule = world.client.get_schedule_handle(sweep_schedule_id(world.org.org_id, "won-0"))
        await schedule.pause(note="load test")
        assert "paused: load test" in (await _examine(world, monkeypatch))["route won-0"].text


async def test_a_route_that_is_not_swept_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """All seems well, and whatever is lost stays lost."""
    async with handoff() as world, world.working():
        told = (await _examine(world, monkeypatch))["route won-0"]
        assert (Harm.RISK, True, True) == (told.harm, "not swept" in told.text, "[routes.sweep]" in told.cure)


async def test_versioned_workers_without_a_current_build_are_told_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They look alive, ask for work, and get none."""
    async with handoff() as world:
        workers = Workers(build_id="1.5.0")
        world.settings = world.settings.model_copy(update={"workers": workers})
        async with world.working():
            found = await _examine(world, monkeypatch)
            assert Harm.STOPPED is found["worker versions"].harm
            assert "set-current-version" in found["worker versions"].cure
            assert "--build-id 1.5.0" in found["worker versions"].cure


async def test_an_order_that_waits_for_hours_says_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step, how often it was tried, and why it failed."""
    async with handoff() as world, world.working():
        world.org.seed(1)
        world.erp.faults.down = True
        (record,) = world.org.win_next(1)
        await until(lambda: world.erp.calls > 1)
        told = (await _examine(world, monkeypatch, old=timedelta(0)))["old orders"]
        assert f"order:{record}" in told.text
        assert "create-order, attempt" in told.text
        assert "no answer" in told.text
        assert "no worker" not in told.text


async def test_a_key_that_is_missing_is_told_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Temporal holds cannot be read: that is a finding, not the end of the examination."""
    async with handoff(encryption=keyed(fresh_key("former"))) as world, world.working():

        async def beats() -> bool:
            (channel,) = await overview.channels(world.client, world.settings)
            return channel.cursor is not None

        await until(beats)
        world.settings = world.settings.model_copy(update={"encryption": keyed(fresh_key("latter"))})
        assert "'former'" in (await _examine(world, monkeypatch))["encryption"].text


async def test_a_clock_that_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logins and signed callouts would fail, and nobody thinks of the clock."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(headers={"Date": format_datetime(datetime.now(UTC) - timedelta(minutes=5), usegmt=True)})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with handoff() as world, TestServer(application) as server:
        org = world.settings.orgs[0].model_copy(update={"url": str(server.make_url("")).rstrip("/")})
        world.settings = world.settings.model_copy(update={"orgs": (org,)})
        assert "s ahead of Salesforce's" in (await _examine(world, monkeypatch))["clock"].text


async def test_an_org_that_is_short_of_api_calls_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they are used up: then orders would wait."""
    async with LocalOrg.running(config=OrgConfig(daily_api_requests=2)) as org, handoff(orgs=[org]) as world:
        found = await _examine(world, monkeypatch)
        assert any("of 2 API calls" in trouble.text for trouble in found.values()), found
