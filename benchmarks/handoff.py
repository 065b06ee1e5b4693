"""What one hand-off costs, alone and in a crowd: `python -m benchmarks.handoff [DEALS]`.

All parts are real, but in one process: Temporal's dev server, the Salesforce emulator, the stub ERP. Absolute times
say more about the machine than about the code, so costs are counted, and times are given as a ratio within one run.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from typing import NamedTuple

from tests.support.handoff import Handoff, handoff, until


class Cost(NamedTuple):
    """Of some deals that were won at once."""

    seconds: float
    api_calls: int
    erp_calls: int


async def main(deals: int) -> None:
    """Win some deals one after another, then as many at once."""
    async with handoff() as world, world.working():
        world.org.seed(2 * deals + 1)
        await _win(world, 1)  # logins and connections, which all later ones share
        alone = [await _win(world, 1) for _ in range(deals)]
        crowd = await _win(world, deals)
        (record,) = [row["Id"] for row in world.org.query("SELECT Id FROM Opportunity WHERE IsWon = true LIMIT 1")]
        history = await world.order(record).fetch_history()
    median = statistics.median(cost.seconds for cost in alone)
    print(f"{'':36}one at a time  {deals} at once")
    print(f"Salesforce API calls per order      {_mean(alone, 1):13.2f}  {crowd.api_calls / deals:.2f}")
    print(f"ERP calls per order                 {_mean(alone, 2):13.2f}  {crowd.erp_calls / deals:.2f}")
    print(f"time per order, alone : in a crowd  {median / (crowd.seconds / deals):13.1f}  1")
    print(f"history events per order            {len(history.events):13}")


async def _win(world: Handoff, deals: int) -> Cost:
    client = world.connections.salesforce[world.org.org_id]
    calls, erp_calls, began = client.calls, world.erp.calls, time.monotonic()
    won = world.org.win_next(deals)
    await until(lambda: all(world.number_of(record) for record in won), seconds=120)
    seconds = time.monotonic() - began
    await asyncio.gather(*(world.order(record).result() for record in won))
    return Cost(seconds, client.calls - calls, world.erp.calls - erp_calls)


def _mean(costs: list[Cost], figure: int) -> float:
    return statistics.mean(cost[figure] for cost in costs)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
    sys.stdout.flush()
    os._exit(0)  # the Temporal SDK may crash the interpreter's exit
