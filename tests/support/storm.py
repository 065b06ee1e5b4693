"""Deals are won while strikes fall at random moments."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.support.siege import Siege

Strike = Callable[[], Awaitable[None]]


async def storm(world: Siege, number: int, strikes: list[Strike], *, in_flight: int) -> int:
    """Win deals; strike each time when the ERP has got so and so many orders, in random order.

    Returns how many were won: `number`, and some more where the last strikes had nothing left to hit.
    """
    deals = await world.add_deals(2 * number)
    struck = asyncio.Event()

    async def sell() -> int:
        await world.sell(deals[:number], in_flight=in_flight)
        for sold in range(number, len(deals)):
            if struck.is_set():
                return sold
            await world.sell(deals[sold : sold + 1], in_flight=1)
        return len(deals)

    world.chance.shuffle(strikes)
    moments = sorted(world.chance.sample(range(number * 4 // 5), len(strikes)))
    async with world.alongside(sell()) as sales:
        for moment, strike in zip(moments, strikes, strict=True):
            await world.until_orders(moment)
            await strike()
        struck.set()
        return await sales
