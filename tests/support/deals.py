"""What people do with deals and orders in a handoff world, and what Salesforce, Temporal and the ERP show of them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import aiohttp

from closedwon import names
from closedwon.acceptance import order_start
from closedwon.ids import RecordId
from closedwon.model.messages import Message
from closedwon.model.routes import Channel
from closedwon.temporal.orders import start_order
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS
from tests.support.handoff import Handoff

QUICK: dict[str, Any] = {"grace": timedelta(seconds=0.1)}
"""Route settings: an order workflow ends a moment after it is done."""


def win(world: Handoff) -> RecordId:
    """Seed a deal and win it. Its event is on the bus; a world without a subscriber needs `notify`."""
    world.org.seed(1)
    (record,) = world.org.win_next(1)
    return record


async def win_and_order(world: Handoff) -> RecordId:
    """Win a deal, and wait until its order is written back and its workflow has ended."""
    record = win(world)
    await world.until_written_back(record)
    await world.order(record).result()
    return record


async def notify(
    world: Handoff, record: RecordId, message_id: str | None = None, *, deleted: bool = False, **fields: Any
) -> None:
    """Change the record, if there are `fields`, and deliver a notification of it as a sweep does."""
    if fields:
        world.org.update("Opportunity", record, **fields)
    message = Message(
        id=message_id or uuid.uuid4().hex, channel=Channel.SWEEP, received_at=datetime.now(UTC), deleted=deleted
    )
    await start_order(world.client, order_start(world.settings, world.settings.routes[0], record), message)


def reopen(world: Handoff, record: RecordId) -> None:
    """Move a won deal back to an open stage, as its owner does."""
    world.org.update("Opportunity", record, StageName="Negotiation/Review")


def set_quantity(world: Handoff, record: RecordId, quantity: int | None = None) -> Decimal:
    """Change the quantity of the deal's first line (by default: one more), and return the deal's new amount."""
    (line,) = world.org.query(
        f"SELECT Id, Quantity FROM OpportunityLineItem WHERE OpportunityId = '{record}' ORDER BY Id LIMIT 1"  # noqa: S608 - SOQL
    )
    new = line["Quantity"] + 1 if quantity is None else quantity
    world.org.update("OpportunityLineItem", RecordId(line["Id"]), Quantity=new)
    return Decimal(str(world.org.get("Opportunity", record)["Amount"]))


async def set_erp_status(world: Handoff, status: str = "processing") -> None:
    """Give every order of the ERP a status, as the ERP's own users do."""
    for order in world.erp.orders():
        url, change = f"{world.erp.url}/_admin/orders/{order['id']}", {"status": status}
        async with aiohttp.request("POST", url, json=change) as response:
            response.raise_for_status()


def orders_in_erp(world: Handoff) -> list[tuple[str, Decimal]]:
    """Status and total of each order that the ERP has."""
    return [(order["status"], Decimal(order["amount"])) for order in world.erp.orders()]


def status_of(world: Handoff, record: RecordId) -> Any:
    """The order status that was written to the Salesforce record."""
    return world.org.get("Opportunity", record)["ERP_Order_Status__c"]


async def search_attribute(world: Handoff, record: RecordId, attribute: str) -> str | None:
    """A search attribute of the order workflow."""
    description = await world.order(record).describe()
    return description.typed_search_attributes.get(SEARCH_ATTRIBUTE_KEYS[attribute])


async def attention_reason(world: Handoff, record: RecordId) -> str | None:
    """Why the order needs attention."""
    return await search_attribute(world, record, names.ATTENTION_REASON)
