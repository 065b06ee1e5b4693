"""Stacks whose processes have a wrong encryption key under the right id, and what operators do about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from closedwon import names
from closedwon.demo import TemporalKind
from closedwon.demo.parts import Part, PartError
from closedwon.encryption.codec import codec
from closedwon.settings import Encryption, Key
from closedwon.temporal.visibility import RUNNING, all_of, at_stage, of_type
from tests.support.command import Printed, closedwon
from tests.support.encryption import as_environment, keyed
from tests.support.siege import Siege, siege

KEY_ID: Final = "2026-11"
WRONG: Final = f"The key '{KEY_ID}' of `encryption.keys` is not the one that Temporal knows"
DEALS: Final = 9
REFUSED: Final = 3
"""Of these deals, orders that the ERP has refused."""


def fingerprint(key: Key) -> str:
    """What people compare of a key."""
    return codec(keyed(key)).check_values[key.id][:8]


def processes(world: Siege) -> Sequence[Part]:
    """Those that have keys."""
    return world.stack.processes


async def stop(world: Siege) -> None:
    """Stop all processes."""
    assert {0} == set(await asyncio.gather(*(process.stop() for process in processes(world))))


async def start(world: Siege, encryption: Encryption) -> None:
    """Start all processes with these keys."""
    for process in processes(world):
        process.environment |= as_environment(encryption)
    await asyncio.gather(*(process.start() for process in processes(world)))


async def refused(world: Siege, encryption: Encryption) -> None:
    """Every process refuses to start with these keys."""
    for process in processes(world):
        process.environment |= as_environment(encryption)
        with pytest.raises(PartError, match=WRONG):
            await process.start()
        assert 1 == process.exit_code


async def command(world: Siege, encryption: Encryption, *words: str) -> Printed:
    """Run `closedwon <words>` with these keys."""
    environment = world.stack.child_environment() | as_environment(encryption)
    return await closedwon(await world.client(), *words, **environment)


@asynccontextmanager
async def written_with_a_wrong_key(
    folder: Path, wrong: Key, *, temporal: TemporalKind = TemporalKind.DEVELOPMENT
) -> AsyncIterator[Siege]:
    """Temporal was empty, and its first processes had a wrong key: six deals are ordered, three need attention."""
    async with siege(folder, temporal=temporal, environment=as_environment(keyed(wrong))) as world:
        said = "".join(process.last_lines() for process in processes(world))
        assert "Temporal has no check value of an encryption key" in said
        assert f"the key '{KEY_ID}' with the fingerprint {fingerprint(wrong)}" in said
        deals = await world.add_deals(DEALS)
        await world.refuse_orders(REFUSED)
        await world.sell(deals)

        async def all_stand() -> bool:
            ordered = await world.written_back() == DEALS - REFUSED
            return ordered and await _open(world) == await _open(world, in_attention=True) == REFUSED

        await world.until(all_stand, "six orders, and three that need attention")
        await stop(world)
        yield world


async def _open(world: Siege, *, in_attention: bool = False) -> int:
    """How many order workflows are open."""
    which = at_stage(names.OrderStage.ATTENTION) if in_attention else RUNNING
    return (await (await world.client()).count_workflows(all_of(of_type(names.ORDER_WORKFLOW), which))).count


async def recover_from_a_lost_key(world: Siege, right: Key) -> None:
    """Do what docs/operate/encryption.md says, step by step."""
    encryption = keyed(right)
    await refused(world, encryption)
    checked = await command(world, encryption, "codec", "check")
    assert (1, True) == (checked.code, f"{fingerprint(right)}  WRONG" in checked.text)

    replaced = await command(world, encryption, "codec", "replace-check", KEY_ID, "--yes")
    assert 0 == replaced.code, replaced.text
    listed = await command(world, encryption, "codec", "undecryptable")
    assert 1 == listed.code
    assert f"{REFUSED} OrderWorkflow, 1 SubscriptionWorkflow" in listed.text, listed.text
    ended = await command(world, encryption, "codec", "undecryptable", "--terminate", "--yes")
    assert (0, True) == (ended.code, "2 schedules made again" in ended.text), ended.text

    await start(world, encryption)
    fixed = await command(world, encryption, "audit", "--since", "7d", "--lag", "0s", "--fix")
    assert fixed.code in (0, 1), fixed.text


async def until_well(world: Siege, encryption: Encryption) -> None:
    """Wait until each deal has one order and its number, a sweep has ended, and the doctor finds nothing."""
    client = await world.client()

    async def agree() -> bool:
        audited = await command(world, encryption, "audit", "--since", "7d", "--lag", "0s")
        return f"won {DEALS} = ordered {DEALS} = written back {DEALS}" in audited.text and audited.code == 0

    await world.until(agree, "one order for each deal, with its number on it")
    assert DEALS == await world.orders()
    assert [] == await world.complaints()
    swept = client.get_schedule_handle(names.sweep_schedule_id(world.stack.org.connection["org_id"], "won-deals"))
    before = (await swept.describe()).info.num_actions

    async def is_swept() -> bool:
        info = (await swept.describe()).info
        return info.num_actions > before and not info.running_actions

    await world.until(is_swept, "a sweep that has ended")

    async def is_healthy() -> bool:
        return (await command(world, encryption, "doctor")).code == 0

    await world.until(is_healthy, "a doctor without findings")
