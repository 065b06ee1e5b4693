"""Everything is killed at random moments, and replies are lost after their commit: still one order for each deal."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from closedwon.demo import ErpKind
from tests.faults.losing_proxy import LosingProxy
from tests.support.siege import siege
from tests.support.storm import Strike, storm


@pytest.mark.slow
async def test_two_hundred_deals_survive_the_death_of_everything(tmp_path: Path) -> None:
    """Worker, subscriber, Temporal, ERP and Salesforce die, replies are lost: 200 orders, each made once."""
    async with siege(tmp_path) as world:
        strikes: list[Strike] = [partial(world.kill, part) for part in world.stack.parts for _ in range(4)]
        strikes += [partial(world.lose_erp_replies, 3) for _ in range(4)]
        strikes += [partial(world.lose_salesforce_answers, 2) for _ in range(4)]
        await world.until_all_is_well(await storm(world, 200, strikes, in_flight=30))

        assert [] == await world.complaints()
        assert {part.name: 4 for part in world.stack.parts} == world.kills
        assert {"erp": 12, "org": 8} == world.lost


@pytest.mark.slow
async def test_thirty_deals_survive_the_death_of_everything_in_tryton(tmp_path: Path) -> None:
    """A real ERP dies and loses replies at each step of an order, the rest dies too: 30 sales, no duplicate."""
    async with siege(tmp_path, erp=ErpKind.TRYTON) as world:
        tryton, (worker,) = world.stack.erp, world.stack.workers
        parts = urlsplit(tryton.connection["url"])
        async with LosingProxy.before(f"{parts.scheme}://{parts.netloc}") as proxy:
            settings = world.stack.config.read_text()
            world.stack.config.write_text(settings.replace(tryton.connection["url"], proxy.url + parts.path))
            await worker.restart()

            async def lose(step: str) -> None:
                await world.standing(tryton)
                await proxy.lose_next(step)
                world.lost[step] += 1
                world.note(f"lost a reply to {step}")

            async def lose_and_kill(step: str) -> None:
                await lose(step)
                await world.kill(tryton)

            steps = ("sale.sale", "quote", "confirm")
            strikes: list[Strike] = [partial(strike, step) for step in steps for strike in (lose, lose_and_kill)]
            strikes += [partial(world.kill, part) for part in world.stack.parts for _ in range(2)]
            await world.until_all_is_well(await storm(world, 30, strikes, in_flight=12))

        assert [] == await world.complaints()
        assert {part.name: 2 for part in world.stack.parts} | {"erp": 5} == world.kills
        assert dict.fromkeys(steps, 2) == world.lost
