"""Case I4: a deal that moves to another account after its order."""

from __future__ import annotations

from decimal import Decimal

import pytest

from closedwon.audit.compare import FindingKind
from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.model.orders import Customer
from closedwon.model.routes import ChangePolicy
from tests.cases.identity import TODAY, WITH_KEY, deal, finding_kinds, ordered_deals, problem_of, stub_world
from tests.integration.erp.worlds import made_by_hand
from tests.support.handoff import handoff


@pytest.mark.parametrize("changed", ["attention", "amend", "ignore"])
@pytest.mark.parametrize("lines", [1, 2], ids=["and other lines", "and nothing else"])
async def test_i4_a_deal_that_moved_to_another_account_needs_attention(changed: ChangePolicy, lines: int) -> None:
    """The ERP's order is still for the first customer: it is left as it is, and a person is asked, by every policy."""
    async with stub_world() as world:
        mine = deal()
        await world.create(mine)
        before = world.rows()
        moved = Customer(id=RecordId("001000000000009AAA"), name="Burlington")
        now = mine.model_copy(update={"customer": moved, "lines": mine.lines[:lines]})

        problem = await problem_of(world.create(now, on_changed=changed))

        assert AttentionReason.CUSTOMER_DIFFERS is problem.reason
        assert "Burlington" not in problem.message
        assert before == world.rows()


async def test_i4_a_cancelled_order_of_another_customer_is_not_reopened() -> None:
    """A deal that was won again for another account does not revive the first account's order."""
    async with stub_world() as world:
        mine = deal()
        await world.create(mine)
        await world.cancel(mine.idempotency_key, by_policy=True, modified_at=TODAY)
        before = world.rows()
        moved = mine.model_copy(update={"customer": Customer(id=RecordId("001000000000009AAA"), name="Burlington")})

        problem = await problem_of(world.create(moved, reopen=True))

        assert AttentionReason.CUSTOMER_DIFFERS is problem.reason
        assert before == world.rows()


async def test_i4_a_facade_that_omits_the_customer_can_still_take_orders() -> None:
    """Under our own key an unknown customer is tolerated: who cannot say is not in the wrong."""
    async with stub_world() as world:
        world.stub.faults.no_customer = True
        mine = deal()

        made = (await world.create(mine)).order

        assert made is not None
        assert made == (await world.create(mine)).order


@pytest.mark.parametrize("total", [None, Decimal("11200.00")])
async def test_i4_customers_that_the_erp_has_already_are_compared_by_their_number(total: Decimal | None) -> None:
    """`customer.number` is what the ERP knows the customer by, also when the Salesforce account is another one."""
    async with stub_world() as world:
        mine = deal(total=total)
        known = mine.model_copy(update={"customer": mine.customer.model_copy(update={"number": "C-7"})})
        by_hand = await made_by_hand(world.stub, known)

        result = await world.create(known, number=by_hand.number)

        assert result.order is not None
        assert (by_hand.id, "C-7") == (result.order.id, result.order.customer)


@pytest.mark.parametrize("changed", ["attention", "amend", "ignore"])
async def test_i4_the_audit_reports_another_customer(changed: ChangePolicy) -> None:
    """The deal moves to another Account after its order: it is reported with every `on_changed` policy."""
    async with handoff(write_back=WITH_KEY, on_changed=changed) as world, world.working(subscriber=False):
        moved, other = await ordered_deals(world, 2)
        account = world.org.query("SELECT Id FROM Account ORDER BY Id DESC LIMIT 1")[0]["Id"]
        accounts = {world.org.get("Opportunity", one)["AccountId"] for one in (moved, other)}
        assert {account} != accounts
        there = moved if world.org.get("Opportunity", moved)["AccountId"] != account else other
        world.org.update("Opportunity", there, AccountId=account)

        assert {there: [FindingKind.CUSTOMER_DIFFERS]} == await finding_kinds(world)
