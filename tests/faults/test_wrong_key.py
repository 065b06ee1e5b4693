"""R5 of the recovery cases: processes with a wrong encryption key under the right id, and what they have written."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path

import aiohttp
import pytest

from closedwon.demo import Via
from closedwon.demo.parts import Part
from closedwon.ids import RecordId
from closedwon.temporal.key_checks import replace_key_check
from tests.support.encryption import as_environment, fresh_key, keyed, mistaken, with_keys
from tests.support.intake import intake_url, soap_message
from tests.support.siege import Siege, siege
from tests.support.wrong_key import (
    DEALS,
    KEY_ID,
    WRONG,
    command,
    processes,
    recover_from_a_lost_key,
    refused,
    start,
    stop,
    until_well,
    written_with_a_wrong_key,
)


async def _readiness(world: Siege, process: Part) -> tuple[int, str]:
    with suppress(aiohttp.ClientError):
        async with world.http.get(f"http://localhost:{process.port}/readyz") as answer:
            return answer.status, await answer.text()
    return 0, ""


@pytest.mark.slow
async def test_r5_no_process_starts_with_a_wrong_key_and_nothing_is_lost_meanwhile(tmp_path: Path) -> None:
    """Deals that are won while the key is wrong wait in Salesforce; with the right key each gets its order."""
    right, wrong = keyed(fresh_key(KEY_ID)), keyed(fresh_key(KEY_ID))
    async with siege(tmp_path, environment=as_environment(right)) as world:
        deals = await world.add_deals(8)
        await world.sell(deals[:4])
        await world.until_all_is_well(4)
        await stop(world)
        await refused(world, wrong)
        await world.sell(deals[4:])
        checked = await command(world, wrong, "config", "check")
        assert 4 == await world.started()
        await start(world, right)
        await world.until_all_is_well(8)
        well = await command(world, right, "config", "check")

    assert 1 == checked.code
    assert f"✗ key {KEY_ID}  is a wrong key: its fingerprint" in checked.text
    assert 0 == well.code, well.text
    assert f"✓ key {KEY_ID}  fingerprint" in well.text


@pytest.mark.slow
async def test_r5_a_running_process_whose_key_becomes_wrong_waits_for_the_right_one(tmp_path: Path) -> None:
    """`/readyz` says why, intake acknowledges nothing, and all goes on without a restart when the key is right."""
    right, other = keyed(fresh_key(KEY_ID)), keyed(fresh_key(KEY_ID))
    async with siege(tmp_path, via=Via.OUTBOUND, environment=as_environment(right)) as world:
        deals = await world.add_deals(6)
        await world.sell(deals[:3])
        await world.until_all_is_well(3)
        client = await world.client()
        await replace_key_check(with_keys(client, other), KEY_ID)
        for process in processes(world):
            await world.until(partial(_is_unready, world, process), f"{process.name} not ready")
        await world.until(lambda: _is_silent(world, deals[3]), "an intake that acknowledges nothing")
        await world.sell(deals[3:])
        assert 3 == await world.started()

        await replace_key_check(with_keys(client, right), KEY_ID)
        for process in processes(world):
            await world.until(partial(_is_ready, world, process), f"{process.name} ready again")
        async with world.alongside(_time_passes(world)):
            await world.until_all_is_well(6)
        assert [] == await world.complaints()


async def _is_unready(world: Siege, process: Part) -> bool:
    status, text = await _readiness(world, process)
    return status == HTTPStatus.SERVICE_UNAVAILABLE and WRONG in text


async def _is_ready(world: Siege, process: Part) -> bool:
    status, _ = await _readiness(world, process)
    return status == HTTPStatus.OK


async def _is_silent(world: Siege, record: RecordId) -> bool:
    body = soap_message(world.stack.org.connection["org_id"], [record])
    try:
        async with world.http.post(intake_url(world.stack), data=body) as answer:
            assert b"<Ack>true</Ack>" not in await answer.read()
    except aiohttp.ClientConnectorError:
        return True
    return False


async def _time_passes(world: Siege) -> None:
    """Let the org's clock run fast, so that it sends again what was not acknowledged."""
    while True:
        with suppress(aiohttp.ClientError, OSError):
            await world.people.admin("POST", "clock", {"advance_seconds": 15})
        await asyncio.sleep(0.5)


@pytest.mark.slow
async def test_r5_what_a_lost_wrong_key_has_written_is_ordered_again(tmp_path: Path) -> None:
    """The six orders that exist are found in the ERP, and not made twice."""
    wrong, right = fresh_key(KEY_ID), fresh_key(KEY_ID)
    async with written_with_a_wrong_key(tmp_path, wrong) as world:
        await recover_from_a_lost_key(world, right)
        await until_well(world, keyed(right))


@pytest.mark.slow
async def test_r5_what_a_known_wrong_key_has_written_goes_on(tmp_path: Path) -> None:
    """The wrong key is listed as a mistake: no workflow is ended, and the orders accept commands again."""
    wrong, right = fresh_key(KEY_ID), fresh_key(KEY_ID)
    both = keyed(right, mistaken(wrong))
    async with written_with_a_wrong_key(tmp_path, wrong) as world:
        replaced = await command(world, both, "codec", "replace-check", KEY_ID, "--yes")
        assert 0 == replaced.code, replaced.text
        listed = await command(world, both, "codec", "undecryptable")
        assert 0 == listed.code, listed.text
        await start(world, both)
        retried = await command(world, both, "orders", "retry", "--reason", "erp-rejected")
        assert (0, True) == (retried.code, "3 accepted" in retried.text), retried.text
        await until_well(world, both)
        assert DEALS == len(await world.order_workflows())
