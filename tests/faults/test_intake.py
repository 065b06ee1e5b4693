"""Deals that Salesforce pushes while intake is killed: what it has acknowledged is kept."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from closedwon.demo import Via
from tests.faults import dying_intake
from tests.support.intake import intake_url, memory, soap_message
from tests.support.siege import Siege, siege


async def _time_passes(world: Siege) -> None:
    """Let the org's clock run fast, so that it sends again what was not acknowledged; die and come back as it does."""
    while True:
        with suppress(aiohttp.ClientError, OSError):
            await world.people.admin("POST", "clock", {"advance_seconds": 15})
        await asyncio.sleep(0.5)


@pytest.mark.slow
async def test_a_death_between_temporals_acceptance_and_the_ack_makes_no_second_order(tmp_path: Path) -> None:
    """Temporal has the message, but Salesforce gets no answer: it sends again, which is another notification."""
    mark = tmp_path / "struck"
    async with siege(tmp_path, via=Via.OUTBOUND) as world:
        (intake,) = world.stack.intakes
        await intake.stop()
        async with (
            world.dying("intake", dying_intake.__file__, str(mark)),
            world.alongside(_time_passes(world)),
        ):
            for deal in await world.add_deals(5):
                await world.win(deal)
            await world.until_all_is_well(5)

            async def all_heard() -> bool:
                return not await world.people.admin("GET", "messages")

            await world.until(all_heard, "every message acknowledged")
        await intake.start()

        assert mark.exists()
        assert {"intake": 1} == world.kills
        assert [] == await world.complaints()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_the_memory_of_intake_does_not_grow_with_acknowledged_messages(tmp_path: Path) -> None:
    """Thirty megabytes of messages leave its memory as it was, but for a few."""
    many = {"CLOSEDWON_INTAKE__RECORDS_PER_SECOND": "40000"}
    async with siege(tmp_path, via=Via.OUTBOUND, workers=0, environment=many) as world:
        (intake,) = world.stack.intakes
        org, url = world.stack.org.connection["org_id"], intake_url(world.stack)
        text = f"<sf:Description>{'x' * 100_000}</sf:Description></sObject>".encode()

        async def send(numbers: range) -> int:
            for number in numbers:
                body = soap_message(org, [f"006{number:012d}"], first=number)
                async with world.http.post(url, data=body.replace(b"</sObject>", text)) as answer:
                    assert b"<Ack>true</Ack>" in await answer.read()
            return memory(intake.pid)

        before = await send(range(1, 100))  # connections, and what is only loaded once
        after = await send(range(100, 400))

        assert after - before < 15 * 2**20


@pytest.mark.slow
async def test_pushed_deals_survive_the_death_of_everything(tmp_path: Path) -> None:
    """Everything dies, acks and replies are lost, messages repeat and overtake each other: 250 orders, no duplicate."""
    async with siege(tmp_path, via=Via.OUTBOUND) as world:
        deals = await world.add_deals(250)
        (intake,) = world.stack.intakes
        strikes = [partial(world.kill, part) for part in world.stack.parts for _ in range(2)]
        strikes += [partial(world.kill, intake) for _ in range(3)]
        strikes += [partial(world.lose_erp_replies, 3) for _ in range(2)]
        for fault in ("lose-acks", "double-messages", "reorder-messages"):
            strikes += [partial(world.people.admin, "POST", f"faults/{fault}", {"times": 5}) for _ in range(3)]
        world.chance.shuffle(strikes)
        moments = sorted(world.chance.sample(range(225), len(strikes)))
        async with world.alongside(_time_passes(world)), world.alongside(world.sell(deals, in_flight=100)):
            for moment, strike in zip(moments, strikes, strict=True):
                await world.until_orders(moment)
                await world.standing(world.stack.org)
                await strike()
            await world.until_all_is_well(250)

        assert [] == await world.complaints()
        assert {part.name: 2 for part in world.stack.parts} | {"intake-1": 5} == world.kills
