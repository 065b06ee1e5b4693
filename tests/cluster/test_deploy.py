"""A rolling restart of all workers from one build to the next, while deals are won."""

from __future__ import annotations

from pathlib import Path

import pytest

from closedwon.demo import TemporalKind
from tests.support.builds import BUILD, next_build, promote
from tests.support.siege import siege

_DEALS = 60


@pytest.mark.slow
async def test_a_rolling_restart_between_two_builds_loses_no_deal(tmp_path: Path) -> None:
    """One worker after the other is restarted with the next build, which is then given the work."""
    async with siege(
        tmp_path, temporal=TemporalKind.CLUSTER, workers=2, subscribers=0, environment={BUILD: "1"}
    ) as world:
        first, second = world.stack.workers
        promote(world, "1")
        deals = await world.add_deals(_DEALS)
        build = {BUILD: "2", "PYTHONPATH": str(next_build(tmp_path / "next"))}
        async with world.alongside(world.sell(deals, in_flight=20)):
            await world.until_orders(_DEALS // 6)
            second.environment |= build
            await second.restart()
            promote(world, "2")
            await world.until_orders(_DEALS // 2)
            first.environment |= build
            await first.restart()
            await world.until_orders(_DEALS)
        await world.until_all_is_well(_DEALS)

        assert _DEALS == await world.orders()
        assert [] == await world.complaints()
