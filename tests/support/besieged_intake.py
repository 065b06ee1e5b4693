"""Honest deals beside hostile traffic: how many are written back, how long each takes, and what intake uses meanwhile.

Deals are won in the emulator, which makes signed callouts to a `closedwon intake` in a process of its own. Its route
accepts outbound messages that prove nothing, too, so that each kind of hostile traffic meets an open door.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch
from urllib.parse import urlsplit

from closedwon.demo import Via, stack
from closedwon.ids import RecordId
from tests.support.intake import intake_url, memory
from tests.support.siege import Siege, siege

DEALS_PER_MINUTE = 50
_ENVIRONMENT = {"CLOSEDWON_INTAKE__UNPROVEN_RECORDS_PER_HOUR": "100"}
_BOTH = f"{stack._CHANNELS[Via.CALLOUT]}\noutbound = {{}}"


class Span(NamedTuple):
    """What happened in a span of honest traffic."""

    latencies: list[float]
    """Seconds from won to written back, of each deal."""
    refusals: list[str]
    """What the emulator was answered instead of 202."""
    memory: float
    """Bytes of intake at its end."""


@asynccontextmanager
async def besieged(data_dir: Path) -> AsyncIterator[Siege]:
    """A world with both channels."""
    with patch.dict(stack._CHANNELS, {Via.CALLOUT: _BOTH}):
        async with siege(data_dir, via=Via.CALLOUT, environment=_ENVIRONMENT) as world:
            yield world


@asynccontextmanager
async def attacked(world: Siege, seconds: float, *kinds: str) -> AsyncIterator[dict[str, int]]:
    """Hostile traffic of these kinds (default: all) during a block, for so many seconds; the block may be longer.

    What was sent, at its end.
    """
    parts = urlsplit(intake_url(world.stack))
    run = [f"{parts.scheme}://127.0.0.1:{parts.port}", "won-deals", str(world.stack.org.connection["org_id"])]
    attacker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.hostile_traffic", *run, str(seconds), *kinds, stdout=PIPE
    )
    sent: dict[str, int] = {}
    yield sent
    output, _ = await attacker.communicate()
    assert 0 == attacker.returncode
    sent |= json.loads(output)


async def honest(world: Siege, seconds: float) -> Span:
    """Win deals at the usual rate, and wait until each is written back."""
    pause = 60 / DEALS_PER_MINUTE
    deals = await world.add_deals(max(1, int(seconds / pause)))
    refusals: set[str] = set()
    won: dict[RecordId, float] = {}
    written: dict[RecordId, float] = {}
    watching = asyncio.create_task(_watch(world, refusals, won, written))
    try:
        for deal in deals:
            won[deal] = time.monotonic()
            await world.win(deal)
            await asyncio.sleep(max(0.0, won[deal] + pause - time.monotonic()))
        await world.until(lambda: len(written) == len(deals), "every honest deal written back")
    finally:
        watching.cancel()
    (intake,) = world.stack.intakes
    return Span([written[deal] - won[deal] for deal in deals], sorted(refusals), memory(intake.pid))


async def _watch(world: Siege, refusals: set[str], won: dict[RecordId, float], written: dict[RecordId, float]) -> None:
    """Note the problem of each callout that the emulator must repeat, and when each deal has its number."""
    while True:
        refusals |= {str(one["problem"]) for one in await world.people.admin("GET", "messages") if one.get("problem")}
        for deal in await world.people.query("SELECT Id, ERP_Order_Number__c FROM Opportunity WHERE IsWon = true"):
            record = RecordId(deal["Id"])
            if deal["ERP_Order_Number__c"] and record in won:
                written.setdefault(record, time.monotonic())
        await asyncio.sleep(0.1)
