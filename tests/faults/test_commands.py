"""Commands at random moments, to orders whose ERP is slow, commits, and then loses the reply."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import aiohttp
import pytest
from temporalio.service import RPCError, RPCStatusCode

from closedwon import mapping, temporal
from closedwon.ids import RecordId
from closedwon.model import Channel, ErpOrder, Message
from closedwon.names import OrderStage
from closedwon.settings import Retry
from tests.support.audit import look, story
from tests.support.handoff import Handoff, handoff, until
from tests.support.siege import SEED

_MOMENTS = 20
_WORDS = ("retry", "cancel", "resolve", "skip")
_SPAN = 9.0
"""Seconds that most orders take here."""


class _Strike(NamedTuple):
    record: RecordId
    word: str
    given: str
    moment: float
    by_update: bool


class _Books(NamedTuple):
    """What Temporal, Salesforce and the ERP say of one record at the end."""

    stage: str | None
    number: str | None
    living: Sequence[str]
    """Numbers of the ERP's orders under the record's key that are not cancelled."""


def _complaint(strike: _Strike, books: _Books) -> str | None:
    """What is wrong, if anything: which ends a command may have, and whether all three agree about them."""
    allowed = {
        "retry": {OrderStage.COMPLETED},
        "cancel": {OrderStage.COMPLETED, OrderStage.CANCELLED},
        "resolve": {OrderStage.COMPLETED, OrderStage.ATTENTION},
        "skip": {OrderStage.COMPLETED, OrderStage.NOT_NEEDED, OrderStage.ATTENTION},
    }
    if books.stage not in allowed[strike.word]:
        return f"{strike} ended as {books}"
    has_order = books.stage in {OrderStage.COMPLETED, OrderStage.ATTENTION}
    expected = [books.number] if has_order else []
    return None if expected == list(books.living) else f"{strike}: they disagree: {books}"


def _with_a_slow_erp(world: Handoff) -> Handoff:
    pace = Retry(first_interval=timedelta(seconds=0.2), longest_interval=timedelta(seconds=1))
    workers = world.settings.workers.model_copy(update={"concurrent_erp_calls": 100})
    world.settings = world.settings.model_copy(update={"retry": pace, "workers": workers})
    return world


async def _made_by_hand(world: Handoff, record: RecordId) -> str:
    """Make the deal's order in the ERP, past Closedwon; return its number."""
    (route,) = world.settings.routes
    client = world.connections.salesforce[world.org.org_id]
    found = await client.read(route.object, route.query_fields, record)
    assert found is not None
    order = mapping.map_order(route, world.org.org_id, record, found).model_dump(mode="json")
    async with aiohttp.request("POST", f"{world.erp.url}/_admin/orders", json=order) as response:
        return ErpOrder.model_validate(await response.json()).number or ""


async def _strike(world: Handoff, strike: _Strike) -> str:
    """Start the order, send the command at its moment; return what became of that."""
    word = Message(id="m-1", channel=Channel.OPERATOR, received_at=datetime.now(UTC))
    await temporal.start_order(world.client, world.settings.order_start(world.settings.routes[0], strike.record), word)
    await asyncio.sleep(strike.moment)
    handle = world.order(strike.record)
    try:
        if not strike.by_update:
            await handle.signal(strike.word, strike.given)
            return "sent"
        answer = await handle.execute_update(strike.word, strike.given)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return "too late"
        raise
    return "yes" if answer["accepted"] else "no"


async def _books(world: Handoff, record: RecordId) -> _Books:
    living = [
        order["number"]
        for order in world.erp.orders()
        if order["idempotency_key"] == f"{world.org.org_id}:{record}" and order["status"] != "cancelled"
    ]
    return _Books(await world.stage(record), world.number_of(record), living)


async def _rests(world: Handoff, record: RecordId) -> bool:
    """Whether the order is at its end, or needs attention and has said so in Salesforce."""
    if (await world.stage(record)) == OrderStage.ATTENTION:
        status = world.org.get("Opportunity", record)["ERP_Order_Status__c"]
        return bool(status == "needs attention")
    description = await world.order(record).describe()
    return description.close_time is not None


@pytest.mark.slow
async def test_a_command_at_any_moment_ends_well() -> None:
    """Each command at 20 moments: every end is one of those allowed, and Salesforce and ERP agree with it."""
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(2**32))
    print(f"repeat with {SEED}={seed}")  # noqa: T201 - pytest shows it on failure
    chance = random.Random(seed)  # noqa: S311 - no secret
    async with handoff() as world, _with_a_slow_erp(world).working(subscriber=False):
        world.org.seed(_MOMENTS * len(_WORDS))
        won = world.org.win_next(_MOMENTS * len(_WORDS))
        strikes = []
        for place, record in enumerate(won):
            word = _WORDS[place % len(_WORDS)]
            given = await _made_by_hand(world, record) if word == "resolve" else "at any moment"
            strikes.append(_Strike(record, word, given, chance.uniform(0, _SPAN), chance.random() < 0.5))
        world.erp.faults.slow, world.erp.faults.lose_reply_probability = 0.2, 0.4
        replies = await asyncio.gather(*(_strike(world, strike) for strike in strikes))

        for record in won:
            await until(lambda record=record: _rests(world, record))  # type: ignore[misc]
        books = [await _books(world, record) for record in won]
        complaints = [_complaint(strike, found) for strike, found in zip(strikes, books, strict=True)]
        assert [] == list(filter(None, complaints))
        for strike, found in zip(strikes, books, strict=True):
            if found.stage == OrderStage.ATTENTION:
                await world.order(strike.record).signal("retry")
                assert OrderStage.COMPLETED is (await world.order(strike.record).result()).stage
        report = await look(world.settings, world.connections, world.client)

    told = Counter(zip((strike.word for strike in strikes), replies, (found.stage for found in books), strict=True))
    print(told)  # noqa: T201
    by_hand = {strike.given for strike in strikes if strike.word == "resolve"}
    assert any(found.number in by_hand for found in books)  # some moments were early, some late
    assert {OrderStage.COMPLETED, OrderStage.CANCELLED, OrderStage.NOT_NEEDED} <= {found.stage for found in books}
    assert report.clean, story(report)
