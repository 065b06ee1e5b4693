"""How fast a pile of orders drains when the ERP is back: `python -m benchmarks.drain [ORDERS]`.

All parts are real, but in one process: Temporal's dev server, the Salesforce emulator, the stub ERP. First, orders are
processed as they arrive: the steady rate. Then as many are won while the ERP is down and wait for their next attempt
(`tests.support.pile` explains what is scaled), the ERP comes back, and `retry` is sent to all. Absolute rates say more
about the machine than about the code; their ratio within one run is the figure.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time

from closedwon.model.commands import Command
from closedwon.operations import orders
from tests.support.handoff import handoff
from tests.support.pile import pile_up, until_drained, with_long_intervals


async def main(number: int) -> None:
    """Measure both rates in one run."""
    logging.disable(logging.CRITICAL)  # each failed attempt is logged
    async with handoff() as world:
        world.org.seed(2 * number)
        came = world.org.win_next(number)
        began = time.monotonic()
        async with with_long_intervals(world).working():
            await until_drained(world, came)
            steady = time.monotonic() - began
            pile = await pile_up(world, number)
            began = time.monotonic()
            found = [one.id for one in await orders.find(world.client, orders.Selection(), "retry")]
            sending = orders.send(world.client, found, "retry", Command(reason="ERP back"), rate=1000)
            sent = [answer.outcome async for answer in sending]
            sent_after = time.monotonic() - began
            await until_drained(world, pile)
            drained = time.monotonic() - began
        duplicates = len(world.erp.orders()) - 2 * number
    print(f"orders                                    {number}")
    print(f"sent `retry` to      {sent.count(orders.CommandOutcome.ACCEPTED)}, duplicates {duplicates}")
    print(f"drain rate : steady rate                  {steady / drained:.2f} : 1  ({number / drained:.0f}/s here)")
    print(f"share of the drain until all were sent it {sent_after / drained:.0%}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
    sys.stdout.flush()
    os._exit(0)  # the Temporal SDK may crash the interpreter's exit
