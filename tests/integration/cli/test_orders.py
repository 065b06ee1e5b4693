"""`closedwon orders`: where each order stands, as an operator reads it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from closedwon.names import OrderStage
from tests.support.handoff import Handoff, handoff

_CLOSEDWON = Path(sys.executable).with_name("closedwon")


async def _orders(world: Handoff, *words: str) -> tuple[int, str]:
    """Run `closedwon orders <words>` against the world's Temporal server; exit code and all that it printed."""
    environment = {
        **os.environ,
        "TEMPORAL_ADDRESS": world.client.service_client.config.target_host,
        "TEMPORAL_CONFIG_FILE": os.devnull,
        "COLUMNS": "100",
    }
    process = await asyncio.create_subprocess_exec(
        str(_CLOSEDWON),
        "orders",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_the_list_tells_stage_number_and_reason_and_show_tells_the_story() -> None:
    """One order is done, one waits for a person: both are found, whole ids and all."""
    async with handoff() as world, world.working():
        world.org.seed(2)
        (done,) = world.org.win_next(1)
        await world.until_written_back(done)
        await world.order(done).result()
        world.erp.faults.unknown_products = frozenset({"GC1040", "GC3020", "SL9080"})
        (stuck,) = world.org.win_next(1)
        await world.until_stage(stuck, OrderStage.ATTENTION)

        code, listed = await _orders(world, "list")
        assert 0 == code
        assert done in listed
        assert str(world.number_of(done)) in listed
        assert "unknown-product" in listed

        _, waiting = await _orders(world, "list", "--stage", "attention")
        assert stuck in waiting
        assert done not in waiting

        _, story = await _orders(world, "show", stuck.short)
        assert "Needs attention" in story
        assert "GC" in story
        assert "word came by platform-event" in story


async def test_a_record_that_nobody_knows_and_an_id_that_is_none_are_told_so() -> None:
    """Exit codes for scripts, sentences for people."""
    async with handoff() as world:
        unknown, what = await _orders(world, "show", "006000000000001")
        wrong, why = await _orders(world, "show", "006000000000001AAB")

        assert 1 == unknown
        assert "knows no order" in what
        assert 2 == wrong
        assert "checksum" in why
