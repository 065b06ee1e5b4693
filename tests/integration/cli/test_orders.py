"""`closedwon orders`: where each order stands, as an operator reads it."""

from __future__ import annotations

from pathlib import Path

from closedwon.names import OrderStage
from tests.support.command import closedwon
from tests.support.encryption import keyed, settings_file
from tests.support.handoff import handoff


async def test_the_list_tells_stage_number_and_reason_and_show_tells_the_story(tmp_path: Path) -> None:
    """One order is done, one waits for a person: both are found, whole ids and all, out of ciphertext."""
    async with handoff(encryption=keyed()) as world, world.working():
        config = str(settings_file(tmp_path, world.settings.encryption))
        world.org.seed(2)
        (done,) = world.org.win_next(1)
        await world.until_written_back(done)
        await world.order(done).result()
        world.erp.faults.unknown_products = frozenset({"GC1040", "GC3020", "SL9080"})
        (stuck,) = world.org.win_next(1)
        await world.until_stage(stuck, OrderStage.ATTENTION)

        code, listed = await closedwon(world.client, "orders", "list", CLOSEDWON_CONFIG=config)
        assert 0 == code
        assert done in listed
        assert str(world.number_of(done)) in listed
        assert "unknown-product" in listed

        _, waiting = await closedwon(world.client, "orders", "list", "--stage", "attention", CLOSEDWON_CONFIG=config)
        assert stuck in waiting
        assert done not in waiting

        _, story = await closedwon(world.client, "orders", "show", stuck.short, CLOSEDWON_CONFIG=config)
        assert "Needs attention" in story
        assert "GC" in story
        assert "word came by platform-event" in story


async def test_a_record_that_nobody_knows_and_an_id_that_is_none_are_told_so() -> None:
    """Exit codes for scripts, sentences for people."""
    async with handoff() as world:
        unknown, what = await closedwon(world.client, "orders", "show", "006000000000001")
        wrong, why = await closedwon(world.client, "orders", "show", "006000000000001AAB")

        assert 1 == unknown
        assert "knows no order" in what
        assert 2 == wrong
        assert "checksum" in why
