"""The world that the demo and the fault tests stand on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from closedwon import names
from closedwon.demo.deals import SalesforceBooks
from closedwon.demo.parts import PartError
from closedwon.demo.stack import Stack
from closedwon.localorg.client import OrgClient
from closedwon.localorg.connection import Connection
from closedwon.operating import figures
from tests.support.audit import assert_clean
from tests.support.encryption import as_environment, keyed
from tests.support.handoff import until


async def _tell_of_api_calls(addresses: list[str]) -> bool:
    return bool((await figures.read(addresses)).api_used)


@pytest.mark.timeout(180)
async def test_every_part_comes_back_where_it_was(tmp_path: Path) -> None:
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
            async with asyncio.timeout(60):
                while not any(one.number for one in await SalesforceBooks(people).deals()):
                    stack.check()
                    await asyncio.sleep(0.1)

            addresses = stack.child_environment()["CLOSEDWON_METRICS"].split()
            await until(lambda: _tell_of_api_calls(addresses))

        client = await stack.temporal.client()
        (order,) = [one async for one in client.list_workflows(f"WorkflowType = '{names.ORDER_WORKFLOW}'")]
        history = await client.get_workflow_handle(order.id).fetch_history()
        (start,) = history.events[0].workflow_execution_started_event_attributes.input.payloads
        assert b"binary/encrypted" == start.metadata["encoding"]
        assert_clean(await stack.audit(), won=1)


async def test_who_runs_everything_says_only_what_there_is(tmp_path: Path) -> None:
    """Alerts know processes by their roles: without `[intake]` nobody is an intake."""
    async with Stack(tmp_path, workers=1) as stack:
        (address,) = stack.child_environment()["CLOSEDWON_METRICS"].split()
        async with aiohttp.request("GET", address) as response:
            told = await response.text()
    assert 'service="orders+subscriber"' in told
    assert "intake" not in told


async def test_two_worlds_do_not_share_a_data_dir(tmp_path: Path) -> None:
    """A second stack on the same data dir is refused before it touches anything."""
    async with Stack(tmp_path, workers=0) as stack:
        with pytest.raises(PartError, match="Another demo runs on"):
            await Stack(tmp_path, workers=0).start()
        stack.check()
