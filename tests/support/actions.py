"""What a Temporal server counts as billed actions, by its own metric `action`."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import Final

import aiohttp

_PUBLISHED: Final = 1.5
"""Seconds."""
HEARTBEAT: Final = "grpc_RecordActivityTaskHeartbeat"
_LINE: Final = re.compile(r'^action\{action_type="(\w+)",namespace="default",.*\} (\S+)$', re.MULTILINE)


async def settled_actions(metrics_port: int) -> Counter[str]:
    """As `billed_actions`, when none was added for longer than it takes the server to publish them (a second)."""
    before = await billed_actions(metrics_port)
    while True:
        await asyncio.sleep(_PUBLISHED)
        if (now := await billed_actions(metrics_port)) == before:
            return now
        before = now


async def billed_actions(metrics_port: int) -> Counter[str]:
    """All actions since the server's start, by kind. The port is that of `temporal server start-dev --metrics-port`."""
    async with aiohttp.request("GET", f"http://localhost:{metrics_port}/metrics") as answer:
        answer.raise_for_status()
        text = await answer.text()
    actions: Counter[str] = Counter()
    for kind, number in _LINE.findall(text):
        actions[kind] += int(float(number))
    return actions
