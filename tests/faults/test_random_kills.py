"""Everything is killed at random moments, and replies are lost after their commit: one order a deal all the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from closedwon.demo import ErpKind
from closedwon.ids import RecordId
from tests.faults.losing_proxy import LosingProxy
from tests.support.siege import Siege, siege

Strike = Callable[[], Awaitable[None]]


async def _storm(world: Siege, deals: Sequence[RecordId], strikes: list[Strike], *, in_flight: int) -> None:
    """Sell the deals; strike each time when the ERP has got so and so many orders, in random order."""
    world.chance.shuffle(strikes)
    moments = sorted(world.chance.sample(range(len(deals) * 9 // 10), len(strikes)))
    async with world.alongside(world.sell(deals, in_flight=in_flight)):
        for moment, strike in zip(moments, strikes, strict=True):
            await world.until_orders(moment)
            await strike()
        await world.until_orders(len(deals))


@pytest.mark.slow
@pytest.mark.timeout(210)
async def test_two_hundred_deals_survive_the_death_of_everything(tmp_path: Path) -> None:
    """Worker, subscriber, Temporal, ERP and Salesforce die, replies are lost: 200 orders, none doubled, all told."""
    async with siege(tmp_path, seconds=180) as world:
        deals = await world.add_deals(200)
        strikes: list[Strike] = [partial(world.kill, part) for part in world.stack.parts for _ in range(4)]
        strikes += [partial(world.lose_erp_replies, 3) for _ in range(4)]
        strikes += [partial(world.lose_salesforce_answers, 2) for _ in range(4)]
        await _storm(world, deals, strikes, in_flight=30)
        await world.until_all_is_well(200)

        assert [] == await world.complaints()
        assert {part.name: 4 for part in world.stack.parts} == world.kills
        assert {"erp": 12, "org": 8} == world.lost


@pytest.mark.slow
@pytest.mark.timeout(300)  # the very first start builds Tryton's database
async def test_thirty_deals_survive_the_death_of_everything_in_tryton(tmp_path: Path) -> None:
    """A real ERP dies and loses replies at each step of an order, the rest dies too: 30 sales, none doubled."""
    async with siege(tmp_path, seconds=180, erp=ErpKind.TRYTON) as world:
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

            deals = await world.add_deals(30)
            steps = ("sale.sale", "quote", "confirm")
            strikes: list[Strike] = [partial(strike, step) for step in steps for strike in (lose, lose_and_kill)]
            strikes += [partial(world.kill, part) for part in world.stack.parts for _ in range(2)]
            await _storm(world, deals, strikes, in_flight=12)
            await world.until_all_is_well(30)

        assert [] == await world.complaints()
        assert {part.name: 2 for part in world.stack.parts} | {"erp": 5} == world.kills
        assert dict.fromkeys(steps, 2) == world.lost
