"""A pile of orders after a long outage of the ERP: one command drains it, and none is doubled."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.audit import assert_clean
from tests.support.command import closedwon
from tests.support.encryption import settings_file
from tests.support.handoff import handoff
from tests.support.pile import INTERVAL, pile_up, until_drained, with_long_intervals

_ORDERS = 1000


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_thousand_orders_of_an_outage_are_done_within_minutes_of_retry_all(tmp_path: Path) -> None:
    """Each waits for its next attempt, as after 30 hours (scaled as `tests.support.pile` says); none waits for it."""
    async with handoff() as world, with_long_intervals(world).working():
        world.org.seed(_ORDERS)
        won = await pile_up(world, _ORDERS)
        assert [] == world.erp.orders()

        began = time.monotonic()
        config = str(settings_file(tmp_path, world.settings.encryption))
        sent = await closedwon(world.client, "orders", "retry", "--all", "--yes", "--rate", "500", "-c", config)
        assert 0 == sent.code, sent.text
        await until_drained(world, won)

        assert time.monotonic() - began < INTERVAL.total_seconds() / 5
        assert_clean(await world.audit(), won=_ORDERS)
