"""What an acknowledgment costs, beside a bare loop of the same signal-with-start calls.

Outbound messages with 1 and with 100 notifications, one after the other, by plain HTTP over a kept connection, against
a `closedwon intake` in a process of its own and a real Temporal server; the two take turns, so that both see the same
machine. Then many messages at once, and what they did to the process's memory. No worker runs, because an
acknowledgment needs none.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from temporalio.client import Client

from benchmarks.processes import resident_bytes
from benchmarks.report import Options, Table, percentile, ratios, run, server_version
from closedwon.demo import Via
from closedwon.demo.stack import Stack
from closedwon.ids import OrgId, RecordId
from closedwon.model.messages import Message
from closedwon.model.order_state import OrderStart
from closedwon.model.routes import Channel
from closedwon.temporal.orders import start_order
from tests.support.intake import intake_url, soap_message

_NO_LIMITS = {
    "CLOSEDWON_INTAKE__RECORDS_PER_SECOND": "4000000",
    "CLOSEDWON_INTAKE__UNPROVEN_RECORDS_PER_HOUR": "100000000",
}
_UNBOUND = {**_NO_LIMITS, "CLOSEDWON_TELEMETRY__LOG_LEVEL": "WARNING"}
_IN_FLIGHT = 16
"""Messages at the same time; Salesforce sends those of one definition one after the other."""
_SLICE = 20
"""Calls until the other takes its turn."""
_HUNDRED = 100
"""Notifications of the largest message that Salesforce sends."""


class _Calls:
    """The calls that are compared; each is about records that were never seen before."""

    def __init__(self, client: Client, url: str, org: OrgId) -> None:
        self._client = client
        self._url = urlsplit(url)
        self._kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._org = org
        self._numbers: Iterator[int] = count(1)

    def _records(self, number: int) -> list[RecordId]:
        return [RecordId(f"006{next(self._numbers):012d}") for _ in range(number)]

    async def acknowledged(self, notifications: int = 1) -> None:
        """One outbound message."""
        first = next(self._numbers)
        body = soap_message(self._org, self._records(notifications), first=first)
        assert b"<Ack>true</Ack>" in await self._post(body)

    async def _post(self, body: bytes) -> bytes:
        """Post by a kept connection, and return the body of the answer. A library would add a cost of its own."""
        url = self._url
        reader, writer = self._kept.pop() if self._kept else await asyncio.open_connection(url.hostname, url.port)
        head = f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: text/xml; charset=utf-8\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        content = await reader.readexactly(int(length))
        self._kept.append((reader, writer))
        return content

    async def bare(self, notifications: int = 1) -> None:
        """As many calls of signal-with-start, at the same time."""
        await asyncio.gather(*map(self._start, self._records(notifications)))

    async def _start(self, record: RecordId) -> None:
        message = Message(id=record, channel=Channel.OUTBOUND_MESSAGE, received_at=datetime.now(UTC))
        await start_order(self._client, OrderStart(org=self._org, record=record, route="won-deals"), message)


async def measure(options: Options) -> tuple[str, Sequence[Table]]:
    """One at a time in turns, then a crowd in turns."""
    with tempfile.TemporaryDirectory(prefix="closedwon-bench-") as folder:
        stack = Stack(Path(folder), via=Via.OUTBOUND, workers=0, environment=_UNBOUND)
        async with stack:
            client = await stack.temporal.client()
            calls = _Calls(client, intake_url(stack), OrgId(stack.org.connection["org_id"]))
            for _ in range(_HUNDRED):  # connections, and what is only loaded once
                await calls.acknowledged()
                await calls.bare()
            latency = Table("acknowledgments, one at a time", ("p50 ms", "p99 ms"), await _latencies(calls, options))
            (intake,) = stack.intakes
            crowd = Table(f"{_IN_FLIGHT} at a time", ("per s", "MiB"), await _crowd(calls, options.orders, intake.pid))
            return await server_version(client), [latency, crowd]


async def _latencies(calls: _Calls, options: Options) -> dict[str, list[float | None]]:
    rows: dict[str, list[float | None]] = {}
    for notifications, times in ((1, options.orders), (_HUNDRED, max(options.orders // 10, 10))):
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(0, times, _SLICE):
            theirs += await _times(calls.bare, notifications)
            ours += await _times(calls.acknowledged, notifications)
        figures = [[percentile(taken, 50), percentile(taken, 99)] for taken in (ours, theirs)]
        rows[f"message with {notifications}"] = [*figures[0]]
        rows[f"{notifications} signal-with-start, bare"] = [*figures[1]]
        rows[f"ratio, {notifications}"] = ratios(*figures)
    return rows


async def _times(call: Callable[[int], Awaitable[None]], notifications: int) -> list[float]:
    """Milliseconds of each call of a turn."""
    times = []
    for _ in range(_SLICE):
        began = time.perf_counter()
        await call(notifications)
        times.append(1000 * (time.perf_counter() - began))
    return times


async def _crowd(calls: _Calls, messages: int, intake: int) -> dict[str, list[float | None]]:
    before = resident_bytes(intake) / 2**20
    ours = theirs = 0.0
    turns = max(messages // (10 * _IN_FLIGHT), 1)
    for _ in range(turns):
        theirs += await _seconds(calls.bare)
        ours += await _seconds(calls.acknowledged)
    done = turns * 10 * _IN_FLIGHT
    after = resident_bytes(intake) / 2**20
    return {
        "messages": [done / ours, after],
        "signal-with-start, bare": [done / theirs, None],
        "before": [None, before],
        "ratio": [theirs / ours, after / before],
    }


async def _seconds(call: Callable[[], Awaitable[None]]) -> float:
    """How long ten calls of each of some callers take."""

    async def work() -> None:
        for _ in range(10):
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(_IN_FLIGHT)))
    return time.perf_counter() - began


if __name__ == "__main__":
    run(measure, orders=1000)
