"""Temporal's database loses what it knew: restored from a backup, or emptied of closed workflows by retention."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from closedwon import names
from closedwon.demo import TemporalKind
from closedwon.demo.cluster.cluster import DATABASES, Cluster
from closedwon.demo.parts import program
from closedwon.ids import RecordId
from closedwon.temporal.visibility import of_type
from tests.support.siege import CHANNEL, Siege, siege

_DEALS = 30


def _cluster_of(world: Siege) -> Cluster:
    assert isinstance(world.stack.temporal, Cluster)
    return world.stack.temporal


async def _order_half(world: Siege, deals: list[RecordId]) -> None:
    """Win the deals; one half is ordered, the other one waits for an ERP that is away."""
    half = len(deals) // 2
    await world.sell(deals[:half])
    await world.until_all_is_well(half)
    await world.stack.erp.stop()
    await world.sell(deals[half:])
    await world.until_started(len(deals))


async def _restore(cluster: Cluster, backup: Path) -> None:
    """What an operator does: Temporal's own processes are down meanwhile, those of Closedwon keep running."""
    await asyncio.gather(*(member.stop() for member in cluster.members))
    await cluster.postgres.restore(list(DATABASES), backup)
    await asyncio.gather(*(member.start() for member in cluster.members))


async def _publish_again(world: Siege, records: list[RecordId]) -> None:
    """Let an old notification of each record arrive late, as a message of its own."""
    for record in records:
        payload = {
            "Opportunity_Id__c": record,
            "Organization_Id__c": world.stack.org.connection["org_id"],
            "CreatedDate": "2026-11-01T10:00:00.000Z",
        }
        data = {"schema": "old", "payload": payload, "event": {"EventUuid": str(uuid4())}}
        await world.people.admin("POST", "events", {"channel": CHANNEL, "data": data})


@pytest.mark.slow
async def test_a_backup_of_an_hour_ago_is_restored_under_running_processes(tmp_path: Path) -> None:
    """Orders that Temporal has forgotten, and orders that it believes open: each deal ends with one order."""
    async with siege(tmp_path, temporal=TemporalKind.CLUSTER) as world:
        cluster = _cluster_of(world)
        deals = list(await world.add_deals(4 * _DEALS))
        await _order_half(world, deals[: 2 * _DEALS])  # the others wait in the backup, and are done by now
        backup = tmp_path / "backup"
        backup.mkdir()
        await cluster.postgres.back_up(list(DATABASES), backup)
        await world.stack.erp.start()
        await world.sell(deals[2 * _DEALS : 3 * _DEALS])
        await world.until_all_is_well(3 * _DEALS)

        await _restore(cluster, backup)
        assert await world.started() < 3 * _DEALS
        await world.sell(deals[3 * _DEALS :])
        await world.until_all_is_well(4 * _DEALS)

        assert 4 * _DEALS == await world.orders()
        assert [] == await world.complaints()


@pytest.mark.slow
async def test_late_notifications_of_orders_that_temporal_has_forgotten_make_no_second_order(tmp_path: Path) -> None:
    """Closed workflows are deleted, as retention does: old events arrive again, and find the orders in the ERP."""
    async with siege(tmp_path, temporal=TemporalKind.CLUSTER) as world:
        deals = list(await world.add_deals(_DEALS))
        await world.sell(deals)
        await world.until_all_is_well(_DEALS)
        await world.until(world.is_idle, "every order workflow at its end")
        words = ("workflow", "delete", "--query", of_type(names.ORDER_WORKFLOW), "--reason", "retention", "--yes")
        command = [program("temporal"), *words, "--address", world.stack.temporal.address]
        subprocess.run(command, check=True, capture_output=True, timeout=60)  # noqa: ASYNC221 - nothing else runs here

        async def forgotten() -> bool:
            return await world.started() == 0

        await world.until(forgotten, "Temporal has deleted every order workflow")
        await _publish_again(world, deals)
        await world.until_started(_DEALS)
        await world.until(world.is_idle, "every late notification read")
        await world.until_all_is_well(_DEALS)

        assert _DEALS == await world.orders()
        assert [] == await world.complaints()


@pytest.mark.slow
async def test_r4_a_cluster_that_comes_back_empty_is_registered_with_again(tmp_path: Path) -> None:
    """Databases and namespace are new under running processes: orders that were open are found, none twice."""
    async with siege(tmp_path, temporal=TemporalKind.CLUSTER) as world:
        cluster = _cluster_of(world)
        deals = list(await world.add_deals(3 * _DEALS))
        await _order_half(world, deals[: 2 * _DEALS])

        await cluster.stop()
        shutil.rmtree(cluster.data_dir)
        await cluster.start()
        await world.stack.erp.start()
        await world.sell(deals[2 * _DEALS :])
        await world.until_all_is_well(3 * _DEALS)

        assert 3 * _DEALS == await world.orders()
        assert [] == await world.complaints()
