"""Each process of a Temporal cluster dies at random moments, PostgreSQL too: still one order for each deal."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from closedwon.demo import TemporalKind
from closedwon.demo.cluster.cluster import Cluster
from tests.support.siege import siege
from tests.support.storm import Strike, storm


@pytest.mark.slow
async def test_two_hundred_deals_survive_the_death_of_every_process_of_the_cluster(tmp_path: Path) -> None:
    """Both processes of frontend, history, matching and worker, and PostgreSQL, die twice each: 200 orders."""
    async with siege(tmp_path, temporal=TemporalKind.CLUSTER) as world:
        cluster = world.stack.temporal
        assert isinstance(cluster, Cluster)
        victims = [cluster.postgres, *cluster.members]
        strikes: list[Strike] = [partial(world.kill, part) for part in victims for _ in range(2)]
        strikes += [partial(world.kill, part) for part in world.stack.processes]
        await world.until_all_is_well(await storm(world, 200, strikes, in_flight=30))

        assert [] == await world.complaints()
        assert {part.name: 2 for part in victims} | {part.name: 1 for part in world.stack.processes} == world.kills
