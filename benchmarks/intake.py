"""What an acknowledgement costs: `python -m benchmarks.intake [MESSAGES]`.

Outbound messages with 1 and with 100 notifications against a real intake and a real Temporal dev server, in one
process, beside a bare loop of the same signal-with-start calls. No worker runs: an acknowledgement needs none. Absolute
times say more about the machine than about the code; quote the ratios.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from closedwon import temporal
from closedwon.ids import RecordId
from closedwon.model import Channel, Message, OrderStart
from tests.support.handoff import Handoff, handoff
from tests.support.intake import deliver, intake, soap_message


async def main(messages: int) -> None:
    """Measure, then print."""
    async with handoff(outbound={}, events=()) as world, intake(world) as address:

        async def acknowledged(number: int, notifications: int) -> None:
            records = [_record(number * 100 + place) for place in range(notifications)]
            status, _ = await deliver(address, soap_message(world.org.org_id, records, first=number * 100))
            assert status == 200  # noqa: PLR2004 - acknowledged

        async def bare(number: int) -> None:
            await _start(world, _record(number))

        await acknowledged(0, 1)  # the first connection
        loop = await _times(bare, range(1_000_000, 1_000_000 + messages))
        one = await _times(lambda number: acknowledged(number, 1), range(1, messages))
        hundred = await _times(lambda number: acknowledged(number, 100), range(10_000, 10_000 + messages // 10))
    print(f"{'':34}median ms     p99 ms   median : one bare call")
    unit = statistics.median(loop)
    for name, times in (("signal-with-start, bare", loop), ("ack of 1", one), ("ack of 100", hundred)):
        median = statistics.median(times)
        p99 = statistics.quantiles(times, n=100)[98]
        print(f"{name:34}{median * 1000:9.1f}  {p99 * 1000:9.1f}   {median / unit:.1f}")


async def _times(call: Callable[[int], Awaitable[None]], numbers: range) -> list[float]:
    times = []
    for number in numbers:
        began = time.perf_counter()
        await call(number)
        times.append(time.perf_counter() - began)
    return times


async def _start(world: Handoff, record: RecordId) -> None:
    await temporal.start_order(
        world.client,
        OrderStart(org=world.org.org_id, record=record, route="won-0"),
        Message(id=record, channel=Channel.OUTBOUND_MESSAGE, received_at=datetime.now(UTC)),
    )


def _record(number: int) -> RecordId:
    return RecordId(f"006{number:012d}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
    sys.stdout.flush()
    os._exit(0)  # the Temporal SDK may crash the interpreter's exit
