"""The world that the demo and the fault tests stand on."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from closedwon import names
from closedwon.demo.deals import SalesforceRecords
from closedwon.demo.parts import Part, PartError
from closedwon.demo.stack import Stack
from closedwon.emulators.salesforce.client import OrgClient
from closedwon.emulators.salesforce.connection import Connection
from closedwon.facts import metrics_page
from tests.support.audit import assert_clean
from tests.support.encryption import as_environment, keyed
from tests.support.handoff import until
from tests.support.visibility import is_listed


async def _export_api_calls(addresses: list[str]) -> bool:
    return bool((await metrics_page.read(addresses)).api_used)


def _complains_of_its_port(part: Part) -> bool:
    return "in use" in part.last_lines()


async def test_a_part_waits_for_its_port_while_another_program_holds_it(tmp_path: Path) -> None:
    """Each part that has served before, Temporal included, comes back on its port as soon as the port is free."""
    async with Stack(tmp_path, workers=1, subscribers=0) as stack:
        for part in stack.parts:
            port = part.port
            await part.kill()
            with socket.create_server(("127.0.0.1", port)):
                starting = asyncio.ensure_future(part.start())
                await until(partial(_complains_of_its_port, part))
            await starting
            assert port == part.port


async def test_every_killed_part_starts_again_on_its_port_and_data(tmp_path: Path) -> None:
    """Each part is killed and started again, on its port and data; then a deal still finds its way, encrypted."""
    keys = as_environment(keyed())
    async with Stack(tmp_path, workers=1, subscribers=1, environment=keys) as stack:
        ports = {part.name: part.port for part in stack.parts}
        before = stack.org.connection, stack.erp.connection
        for part in stack.parts:
            await part.kill()
            await part.start()
        stack.check()

        assert ports == {part.name: part.port for part in stack.parts}
        for old, new in zip(before, (stack.org.connection, stack.erp.connection), strict=True):
            assert old | {"pid": 0} == new | {"pid": 0}

        async with OrgClient.open(Connection.model_validate(stack.org.connection)) as people:
            (deal,) = (await people.admin("POST", "seed", {"opportunities": 1}))["ids"]
            await people.win(deal)
            records = SalesforceRecords(people)

            async def is_written() -> bool:
                stack.check()
                return any(one.number for one in await records.deals())

            await until(is_written)

            addresses = stack.child_environment()["CLOSEDWON_METRICS"].split()
            await until(lambda: _export_api_calls(addresses))

        client = await stack.temporal.client()
        order = client.get_workflow_handle(names.order_workflow_id(stack.org.connection["org_id"], deal))
        history = await order.fetch_history()
        (start,) = history.events[0].workflow_execution_started_event_attributes.input.payloads
        assert b"binary/encrypted" == start.metadata["encoding"]

        async def has_ended() -> bool:
            return (await order.describe()).close_time is not None

        await until(has_ended)
        await until(partial(is_listed, client, order.id))
        assert_clean(await stack.audit(), won=1)


async def test_metrics_name_only_the_roles_that_a_process_has(tmp_path: Path) -> None:
    """Alerts know processes by their roles: without `[intake]` no process has that role."""
    async with Stack(tmp_path, workers=1) as stack:
        (address,) = stack.child_environment()["CLOSEDWON_METRICS"].split()
        async with aiohttp.request("GET", address) as response:
            metrics = await response.text()
    assert 'service="orders+subscriber"' in metrics
    assert "intake" not in metrics


async def test_two_worlds_do_not_share_a_data_dir(tmp_path: Path) -> None:
    """A second stack on the same data dir is refused before it touches anything."""
    async with Stack(tmp_path, workers=0) as stack:
        with pytest.raises(PartError, match="Another demo runs on"):
            await Stack(tmp_path, workers=0).start()
        stack.check()
