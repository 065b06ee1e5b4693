"""Hostile traffic of every kind against a running intake, from one process of its own.

    python -m tests.support.hostile_traffic ADDRESS ROUTE ORG SECONDS [KIND ...]

Nothing that it sends proves anything. Without kinds, all of them are sent. Prints how many of each kind it has sent,
as JSON.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from tests.support.intake import soap_message

_IDLE = 600
"""Connections that send nothing: more than intake allows."""
_SLOW = 150
"""Connections whose bodies or headers never come."""
_FAILS = (OSError, TimeoutError, asyncio.IncompleteReadError)


class Traffic:
    """One attacker."""

    def __init__(self, address: str, route: str, org: str) -> None:
        parts = urlsplit(address)
        self._where = (parts.hostname or "", parts.port or 80)
        self._route = route
        self._org = org
        self._chance = random.Random(4711)  # noqa: S311 - no secret
        self._record = 0
        self._open: list[asyncio.StreamWriter] = []
        self.sent: Counter[str] = Counter()

    async def run(self, seconds: float, only: Sequence[str] = ()) -> Mapping[str, int]:
        """Attack for so long; return how many requests of each kind were sent."""
        kinds: dict[Callable[[], Awaitable[None]], float] = {
            self._garbage: 10,
            self._foreign: 2,
            self._invented: 2,
            self._unsigned: 10,
            self._large: 1,
            self._unknown: 10,
            self._broken: 5,
            self._forged_headers: 5,
            self._slow_body: 20,
            self._slow_headers: 10,
            self._idle: 100,
        }
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                chosen = {kind: rate for kind, rate in kinds.items() if not only or _named(kind) in only}
                await asyncio.gather(*(self._again(kind, rate) for kind, rate in chosen.items()))
        for writer in self._open:
            writer.close()
        return self.sent

    async def _again(self, kind: Callable[[], Awaitable[None]], rate: float) -> None:
        began, count = time.monotonic(), 0
        while True:
            with suppress(*_FAILS):
                await kind()
            count += 1
            self.sent[_named(kind)] += 1
            await asyncio.sleep(max(0.0, began + count / rate - time.monotonic()))

    async def _post(self, path: str, body: bytes, headers: str = "", method: str = "POST") -> None:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(*self._where)
            try:
                head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
                writer.write(head.encode() + body)
                await reader.readline()
            finally:
                writer.close()

    async def _garbage(self) -> None:
        await self._post(f"/outbound/{self._route}", self._chance.choice([b"<nonsense>", b"\xff\xfe\0", b"{}", b""]))

    async def _foreign(self) -> None:
        """A message of another org."""
        await self._post(f"/outbound/{self._route}", soap_message("00D000000000009", self._ids(100)))

    async def _invented(self) -> None:
        """Records that do not exist, under the right org."""
        await self._post(f"/outbound/{self._route}", soap_message(self._org, self._ids(20)))

    def _ids(self, count: int) -> list[str]:
        self._record += count
        return [f"006{number:012d}" for number in range(self._record, self._record + count)]

    async def _unsigned(self) -> None:
        body = json.dumps({"org": self._org, "records": [{"recordId": one, "id": "x"} for one in self._ids(50)]})
        at = int(time.time())
        headers = f"X-Closedwon-Timestamp: {at}\r\nX-Closedwon-Signature: v{self._chance.choice('12')}={'0' * 64}\r\n"
        path = self._chance.choice([f"/callouts/{self._route}", f"/callouts/{self._route}/soap", "/erp/stub"])
        await self._post(path, body.encode(), headers if self._chance.random() < 0.9 else "")

    async def _large(self) -> None:
        path = self._chance.choice([f"/callouts/{self._route}", f"/outbound/{self._route}"])
        await self._post(path, b"<a>" + b"<b></b>" * (self._chance.choice([1, 6]) * 150_000))

    async def _unknown(self) -> None:
        path = self._chance.choice(
            ["/", "/admin", "/outbound/x", "/callouts/x", "/openapi.json", "/outbound/%0a%1b[2J"]
        )
        await self._post(path, b"x" * 1000, method=self._chance.choice(["POST", "GET", "PUT"]))

    async def _broken(self) -> None:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(*self._where)
            writer.write(
                self._chance.choice([b"\x16\x03\x01" + b"\0" * 50, b"GET\r\n\r\n", b"a" * 10_000 + b"\r\n\r\n"])
            )
            await reader.read(100)
            writer.close()

    async def _forged_headers(self) -> None:
        headers = self._chance.choice(
            [
                "X-Forwarded-For: 1.2.3.4:5678, [::1]\r\n",
                "Content-Encoding: gzip\r\n",
                f"X-Long: {'x' * 6000}\r\n",
                "Content-Type: text/xml; charset=utf-7\r\n",
            ]
        )
        await self._post(f"/outbound/{self._route}", gzip.compress(b"<a/>" * 1000), headers)

    async def _slow_body(self) -> None:
        path = self._chance.choice([f"/callouts/{self._route}", f"/outbound/{self._route}", "/nowhere"])
        await self._hold(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n<".encode(), _SLOW)

    async def _slow_headers(self) -> None:
        await self._hold(b"POST /callouts/x HTTP/1.1\r\nHo", _SLOW)

    async def _idle(self) -> None:
        await self._hold(b"", _IDLE)

    async def _hold(self, begin: bytes, most: int) -> None:
        """Keep one more connection open; the longest open ones give way."""
        _, writer = await asyncio.open_connection(*self._where)
        writer.write(begin)
        self._open.append(writer)
        while len(self._open) > most + _IDLE:
            self._open.pop(0).close()


def _named(kind: Callable[[], Awaitable[None]]) -> str:
    return getattr(kind, "__name__", "").removeprefix("_")


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    address, route, org, seconds, *only = sys.argv[1:]
    json.dump(asyncio.run(Traffic(address, route, org).run(float(seconds), only)), sys.stdout)
