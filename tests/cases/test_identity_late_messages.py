"""Case I6: a message that is older than the one before it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from closedwon import names
from closedwon.model.erp import Origin
from closedwon.model.erp_calls import ErpResult
from closedwon.model.orders import Order, parse_idempotency_key
from closedwon.model.routes import ChangePolicy
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS
from tests.cases.identity import ORDER_OF_MESSAGE, TODAY, deal, message_about, stub_world
from tests.integration.erp.worlds import new_order
from tests.support.handoff import handoff
from tests.support.intake import PROVEN, PROVEN_ROUTE, deliver, intake


def earlier(order: Order, price: str, *, hours: int = 1) -> Order:
    """The deal as an older message describes it, with another price."""
    lines = new_order([("GC1040", "1", price)]).lines
    return order.model_copy(update={"lines": lines, "modified_at": TODAY - timedelta(hours=hours)})


@pytest.mark.parametrize("changed", ["attention", "amend", "ignore"])
async def test_i6_an_older_message_changes_nothing(changed: ChangePolicy) -> None:
    """The message of 11:00 arrives after the order of 12:00 was made and its workflow has ended: the order stays."""
    async with stub_world() as world:
        mine = deal()
        made = (await world.create(mine)).order
        before = world.rows()

        late = await world.create(earlier(mine, "10.00"), on_changed=changed)
        reopened = await world.cancel(mine.idempotency_key, by_policy=True, modified_at=TODAY - timedelta(seconds=1))

        assert ErpResult(order=made, kept=True) == late == reopened
        assert before == world.rows()


async def test_i6_a_cancel_by_a_person_does_not_depend_on_the_times_of_messages() -> None:
    """A command does not depend on times; after it, an older message does not reopen the order."""
    async with stub_world() as world:
        mine = deal()
        await world.create(mine)

        cancelled = await world.cancel(mine.idempotency_key)
        late = await world.create(earlier(mine, "10.00"), reopen=True)

        assert cancelled.order is not None
        assert ("cancelled", False) == (cancelled.order.status, cancelled.kept)
        assert ErpResult(order=cancelled.order, kept=True) == late


@pytest.mark.parametrize(("stamp", "fields"), [(None, {"Amount": "10.00"}), ("2099-01-01", {"IsWon": "false"})])
async def test_i6_a_message_without_a_believable_time_changes_nothing(
    stamp: str | None, fields: dict[str, str]
) -> None:
    """It may be older than what was ordered: it neither amends nor cancels, and a person keeps the order."""
    policies: dict[str, Any] = {"on_changed": "amend", "on_unqualified": "cancel"}
    async with (
        handoff(outbound=PROVEN, **ORDER_OF_MESSAGE, **policies) as world,
        world.working(subscriber=False),
        intake(world) as address,
    ):
        (record,) = world.org.seed(1)
        fields_sent: dict[str, Any] = {"Amount": "20.00", "SystemModstamp": "2026-01-01T10:00:00.000Z"}
        await deliver(address, message_about(world.org.org_id, record, **fields_sent), route=PROVEN_ROUTE)
        await world.until_written_back(record)
        await world.order(record).result()
        before = dict(world.erp.table.db.execute("SELECT * FROM orders").fetchone())
        fields_sent |= fields | {"SystemModstamp": f"{stamp}T10:00:00.000Z"}
        if stamp is None:
            del fields_sent["SystemModstamp"]
        await deliver(address, message_about(world.org.org_id, record, first=2, **fields_sent), route=PROVEN_ROUTE)
        await world.until_stage(record, names.OrderStage.ATTENTION)
        found = await world.order(record).describe()

        assert "invalid-message" == found.typed_search_attributes.get(SEARCH_ATTRIBUTE_KEYS[names.ATTENTION_REASON])
        assert before == dict(world.erp.table.db.execute("SELECT * FROM orders").fetchone())
        await world.order(record).signal("resolve", world.number_of(record))
        await world.until_stage(record, names.OrderStage.COMPLETED)
        assert before == dict(world.erp.table.db.execute("SELECT * FROM orders").fetchone())


@pytest.mark.parametrize("remembers", [True, False])
async def test_i6_a_newer_message_without_a_change_is_remembered_where_it_matters(remembers: bool) -> None:  # noqa: FBT001
    """10:00 and 12:00 say the same, 11:00 says something else and comes last. Without `remembers` it costs no call."""
    async with stub_world() as world:
        now = deal()
        await world.create(now.model_copy(update={"modified_at": TODAY - timedelta(hours=2)}))
        calls = world.stub.calls

        again = await world.create(now, remembers=remembers)
        assert (2 if remembers else 1) == world.stub.calls - calls
        calls = world.stub.calls
        await world.create(now, remembers=remembers)
        assert 1 == world.stub.calls - calls
        late = await world.create(earlier(now, "10.00"), on_changed="amend", remembers=remembers)

        assert again.order is not None
        assert again.order.origin is Origin.CREATED
        assert remembers is late.kept
        assert ("11200.00" if remembers else "10.00") == world.rows()[0]["amount"]


async def test_i6_a_newer_reopening_of_a_cancelled_order_is_remembered() -> None:
    """Cancelled at 10:00, no longer won at 12:00: a late message of 11:00 that it is won does not reopen the order."""
    async with stub_world() as world:
        mine = deal(modified_at=TODAY - timedelta(hours=2))
        await world.create(mine)
        await world.cancel(mine.idempotency_key, by_policy=True, modified_at=mine.modified_at)
        await world.cancel(mine.idempotency_key, by_policy=True, modified_at=TODAY)

        late = await world.create(earlier(mine, "5000.00"), reopen=True)

        assert late.kept
        assert "cancelled" == world.rows()[0]["status"]


async def test_i6_a_change_and_its_time_are_stored_together() -> None:
    """An amended order is as new as the message that it was amended by."""
    async with stub_world() as world:
        await world.create(earlier(deal(), "10.00"))
        first = world.rows()[0]
        mine = deal(record=parse_idempotency_key(first["idempotency_key"])[1])
        mine = mine.model_copy(update={"customer": mine.customer.model_copy(update={"number": first["customer"]})})

        amended = (await world.create(mine, on_changed="amend")).order

        assert amended is not None
        assert (TODAY, Decimal(11200)) == (amended.modified_at, amended.amount)


async def test_a_new_order_takes_four_calls_and_an_unchanged_one_takes_one() -> None:
    """Four for an ERP with drafts: a look, a creation, a confirmation, a look. A record that is touched again: one."""
    async with stub_world() as world:
        mine = deal()

        await world.create(mine)
        assert 4 == world.stub.calls
        await world.create(mine.model_copy(update={"modified_at": TODAY + timedelta(minutes=1)}))

        assert 5 == world.stub.calls
