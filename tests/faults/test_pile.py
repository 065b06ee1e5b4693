"""A pile of orders after a long outage of the ERP: one command drains it, without a duplicate."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.audit import assert_clean
from tests.support.command import closedwon
from tests.support.encryption import settings_file
from tests.support.handoff import handoff
from tests.support.pile import pile_up, until_drained, with_long_intervals

_ORDERS = 200


@pytest.mark.slow
async def test_two_hundred_orders_of_an_outage_are_done_within_minutes_of_retry_all(tmp_path: Path) -> None:
    """Each waits for its next attempt, as after 30 hours (scaled as `tests.support.pile` says); none waits for it."""
    async with handoff() as world, with_long_intervals(world).working():
        world.org.seed(_ORDERS)
        won = await pile_up(world, _ORDERS)
        assert [] == world.erp.orders()

        config = str(settings_file(tmp_path, world.settings.encryption))
        sent = await closedwon(world.client, "orders", "retry", "--all", "--yes", "--rate", "500", "-c", config)
        assert 0 == sent.code, sent.text
        await until_drained(world, won)

        assert_clean(await world.audit(), won=_ORDERS)
