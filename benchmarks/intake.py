"""What an acknowledgement costs: `python -m benchmarks.intake [MESSAGES]`.

Outbound messages with 1 and with 100 notifications against a `closedwon intake` in a process of its own and a real
Temporal dev server, beside a bare loop of the same signal-with-start calls; then many messages at once, and what they
did to the process's memory. No worker runs: an acknowledgement needs none. Absolute times say more about the machine
than about the code; quote the ratios.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from closedwon.demo import Via
from closedwon.demo.stack import Stack
from closedwon.ids import OrgId, RecordId
from closedwon.model.messages import Message
from closedwon.model.order_state import OrderStart
from closedwon.model.routes import Channel
from closedwon.temporal.orders import start_order
from tests.support.intake import intake_url, memory, soap_message

_UNBOUND = {"CLOSEDWON_INTAKE__REQUESTS_PER_SECOND": "1000000"}
_IN_FLIGHT = 16
"""Messages at the same time; Salesforce sends those of one definition one after the other."""
_SLICE = 500


async def main(messages: int) -> None:
    """Measure, then print."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder), via=Via.OUTBOUND, workers=0, environment=_UNBOUND)
        async with stack, aiohttp.ClientSession() as http:
            await _measure(stack, http, messages)


async def _measure(stack: Stack, http: aiohttp.ClientSession, messages: int) -> None:
    (intake,) = stack.intakes
    org = OrgId(stack.org.connection["org_id"])
    client = await stack.temporal.client()
    url = intake_url(stack)

    async def acknowledged(number: int, notifications: int = 1) -> None:
        records = [_record(number * 100 + place) for place in range(notifications)]
        body = soap_message(org, records, first=number * 100)
        async with http.post(url, data=body, headers={"Content-Type": "text/xml; charset=utf-8"}) as answer:
            assert b"<Ack>true</Ack>" in await answer.read()

    async def bare(number: int) -> None:
        message = Message(id=str(number), channel=Channel.OUTBOUND_MESSAGE, received_at=datetime.now(UTC))
        await start_order(client, OrderStart(org=org, record=_record(number), route="won-deals"), message)

    for number in range(100):  # connections, and what is only loaded once
        await acknowledged(number)

    async def bare_hundred(number: int) -> None:
        await asyncio.gather(*(bare(number * 100 + place) for place in range(100)))

    loop = await _times(bare, range(1_000_000, 1_000_300))
    one = await _times(acknowledged, range(100, 400))
    loop_hundred = await _times(bare_hundred, range(40_000, 40_100))
    hundred = await _times(lambda number: acknowledged(number, 100), range(50_000, 50_100))
    print(f"{'':36}median ms     p99 ms   median : the same calls, bare")
    for name, times, unit in (
        ("signal-with-start, bare", loop, loop),
        ("ack of 1", one, loop),
        ("100 signal-with-start at once, bare", loop_hundred, loop_hundred),
        ("ack of 100", hundred, loop_hundred),
    ):
        median = statistics.median(times)
        p99 = statistics.quantiles(times, n=100)[98]
        print(f"{name:36}{median * 1000:9.1f}  {p99 * 1000:9.1f}   {median / statistics.median(unit):.2f}")
    before = memory(intake.pid)
    seconds = bare_seconds = 0.0
    for first in range(0, messages, _SLICE):  # in turns, so that both see the same machine
        bare_seconds += await _crowd(bare, range(6_000_000 + first, 6_000_000 + first + _SLICE // 5))
        seconds += await _crowd(acknowledged, range(70_000 + first, 70_000 + first + _SLICE))
    rate, bare_rate = messages / seconds, messages / 5 / bare_seconds
    after = memory(intake.pid)
    print(f"{_IN_FLIGHT} at once: {rate:.0f} messages/s, {rate / bare_rate:.2f} of the bare loop's {bare_rate:.0f}/s")
    print(f"memory: {before / 2**20:.0f} MiB before, {after / 2**20:.0f} after {messages} ({after / before:.2f} of it)")


async def _times(call: Callable[[int], Awaitable[None]], numbers: range) -> list[float]:
    times = []
    for number in numbers:
        began = time.perf_counter()
        await call(number)
        times.append(time.perf_counter() - began)
    return times


async def _crowd(call: Callable[[int], Awaitable[None]], numbers: range) -> float:
    """Make the calls, some at the same time, and return the seconds that all of them take."""
    left = iter(numbers)

    async def work() -> None:
        for number in left:
            await call(number)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(_IN_FLIGHT)))
    return time.perf_counter() - began


def _record(number: int) -> RecordId:
    return RecordId(f"006{number:012d}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
    sys.stdout.flush()
    os._exit(0)  # the Temporal SDK may crash the interpreter's exit
