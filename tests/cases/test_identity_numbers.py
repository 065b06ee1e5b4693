"""Case I1: a number on a record that is the number of another order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, Literal

import pytest
from temporalio.testing import ActivityEnvironment

from closedwon import names
from closedwon.audit.compare import FindingKind
from closedwon.audit.repair import repair
from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.model.erp import Origin
from closedwon.model.erp_calls import ErpResult, ResolveOrder
from closedwon.model.orders import idempotency_key
from closedwon.model.routes import ChangePolicy
from tests.cases.identity import (
    OTHERS,
    TODAY,
    WITH_KEY,
    deal,
    finding_kinds,
    ordered_deals,
    problem_of,
    stub_world,
)
from tests.integration.erp.worlds import made_by_hand, new_order
from tests.support.deals import (
    attention_reason,
    notify,
    win,
)
from tests.support.handoff import Handoff, handoff, until


@pytest.mark.parametrize("changed", ["attention", "amend", "ignore"])
@pytest.mark.parametrize(
    ("by_hand", "expected"),
    [
        ({}, ["another customer", "23600.00 EUR on 1 line(s), and the record 11200.00 EUR on 2 line(s)"]),
        ({"lines": new_order().lines}, ["another customer"]),
        ({"lines": new_order().lines, "order_date": date(2025, 11, 3)}, ["another customer", "placed on 2025-11-03"]),
    ],
    ids=["mistyped, amounts differ", "mistyped, amounts agree", "renewal of last year"],
)
async def test_i1_a_number_of_another_customers_order_touches_nothing(
    by_hand: dict[str, Any], expected: list[str], changed: ChangePolicy
) -> None:
    """A number that names another customer's order leaves that order as it is, and a person reads what differs."""
    async with stub_world() as world:
        other = await made_by_hand(world.stub, deal(OTHERS, **by_hand))
        before, mine = world.rows(), deal()

        problem = await problem_of(world.create(mine, number=other.number, on_changed=changed))
        again = await problem_of(world.create(mine, number=other.number, on_changed=changed))

        assert AttentionReason.ORDER_EXISTS is problem.reason
        assert problem.message == again.message
        assert all(text in problem.message for text in expected), problem.message
        assert "Edge" not in problem.message
        assert before == world.rows()

        result = await world.create(mine, number=None, on_changed=changed)
        assert result.order is not None
        assert result.order.id != other.id
        assert 2 == len(world.rows())


@pytest.mark.parametrize("changed", ["attention", "amend", "ignore"])
@pytest.mark.parametrize("typed", [str.lower, lambda number: number.lstrip("L0"), lambda number: f"{number} (Jane)"])
async def test_i1_a_number_typed_in_another_way_makes_no_second_order(
    typed: Callable[[str], str], changed: ChangePolicy
) -> None:
    """Nothing proves that the ERP has no such order: a person names the right number, or empties the field."""
    async with stub_world() as world:
        mine = deal()
        by_hand = await made_by_hand(world.stub, mine)
        before, number = world.rows(), by_hand.number
        assert number is not None

        problem = await problem_of(world.create(mine, number=typed(number), on_changed=changed))

        assert AttentionReason.ORDER_EXISTS is problem.reason
        assert f"order number {typed(number)} already" in problem.message
        assert before == world.rows()

        corrected = (await world.create(mine, number=number, on_changed=changed)).order
        assert corrected is not None
        assert (by_hand.id, Origin.ADOPTED) == (corrected.id, corrected.origin)
        assert 1 == len(world.rows())


async def test_i1_a_number_of_ours_that_the_erp_has_lost_is_ordered_again() -> None:
    """Closedwon wrote the number itself, so it is typed as the ERP writes it: a restored ERP has lost that order."""
    async with stub_world() as world:
        result = await world.create(deal(), number="L000001", number_is_proven=True)
        assert result.order is not None
        assert Origin.CREATED is result.order.origin


async def test_i1_an_order_that_was_not_adopted_is_not_cancelled_with_the_deal() -> None:
    """`on_unqualified = "cancel"` leaves an order that a record only names: the ERP has none under the record's key."""
    async with stub_world() as world:
        other = await made_by_hand(world.stub, deal(OTHERS))
        before, mine = world.rows(), deal()
        await problem_of(world.create(mine, number=other.number))

        result = await world.cancel(mine.idempotency_key, by_policy=True, modified_at=TODAY)

        assert ErpResult(order=None) == result
        assert before == world.rows()


async def test_i1_the_same_customers_renewal_is_not_last_years_order() -> None:
    """An order of the same customer and content is adopted unless it was placed before the record was created."""
    async with stub_world() as world:
        mine = deal()
        last_year = await made_by_hand(world.stub, mine.model_copy(update={"order_date": date(2025, 11, 3)}))

        problem = await problem_of(world.create(mine, number=last_year.number, number_is_proven=True))

        assert AttentionReason.ORDER_EXISTS is problem.reason
        assert "before the record was created" in problem.message

        this_year = await made_by_hand(world.stub, mine)
        result = await world.create(mine, number=this_year.number)
        assert result.order is not None
        assert (this_year.id, Origin.ADOPTED, TODAY) == (result.order.id, result.order.origin, result.order.modified_at)


@pytest.mark.parametrize("left_out", ["customer", "lines", "order_date"])
async def test_i1_what_the_erp_leaves_out_counts_as_a_difference(
    left_out: Literal["customer", "lines", "order_date"],
) -> None:
    """An order that would agree is not adopted from a facade that leaves one of the compared fields out."""
    async with stub_world() as world:
        mine = deal()
        by_hand = await made_by_hand(world.stub, mine)
        world.stub.faults.leaves_out = frozenset({left_out})

        problem = await problem_of(world.create(mine, number=by_hand.number))

        assert AttentionReason.ORDER_EXISTS is problem.reason
        assert "does not" in problem.message


async def test_i1_a_person_is_asked_if_the_facade_cannot_look_up_a_number() -> None:
    """Where the ERP cannot be asked without a side effect it is not asked, and nothing is created beside it."""
    async with stub_world() as world:
        by_hand = await made_by_hand(world.stub, deal())
        world.stub.faults.no_number_lookup = True

        problem = await problem_of(world.create(deal(), number=by_hand.number))

        assert AttentionReason.ORDER_EXISTS is problem.reason
        assert "cannot say whether it has that one" in problem.message
        assert 1 == len(world.rows())


async def test_i1_a_number_that_belongs_to_another_record_was_copied() -> None:
    """The number of an order with another record's key does not stand in the way of the record's own order."""
    async with stub_world() as world:
        others = (await world.create(deal())).order
        assert others is not None

        result = await world.create(deal(), number=others.number)

        assert result.order is not None
        assert result.order.id != others.id


@pytest.mark.parametrize("origin", [Origin.ADOPTED, Origin.RESOLVED, None])
async def test_i1_no_policy_changes_or_cancels_what_closedwon_did_not_make(origin: Origin | None) -> None:
    """An order under the record's key whose origin is not `created` is amended, cancelled, reopened by people only."""
    async with stub_world() as world:
        mine = deal()
        await world.create(mine)
        world.stub.table.db.execute("UPDATE orders SET origin = ?", (origin,))
        before = world.rows()
        changed = mine.model_copy(update={"lines": mine.lines[:1]})

        amended = await problem_of(world.create(changed, on_changed="amend"))
        cancelled = await problem_of(world.cancel(mine.idempotency_key, by_policy=True, modified_at=TODAY))

        assert AttentionReason.AMOUNT_DIFFERS is amended.reason
        says = "the ERP does not say whether Closedwon made" if origin is None else "Closedwon did not make"
        assert f"{says} that order" in amended.message
        assert AttentionReason.ORDER_EXISTS is cancelled.reason
        assert before == world.rows()

        by_command = await world.cancel(mine.idempotency_key)
        assert by_command.order is not None
        assert "cancelled" == by_command.order.status
        reopened = await problem_of(world.create(mine, reopen=True))
        assert AttentionReason.ERP_REJECTED is reopened.reason


async def test_i1_resolve_compares_and_a_person_may_accept() -> None:
    """`resolve` shows how the order differs, changes nothing, and takes it once the differences are accepted."""
    async with stub_world() as world:
        mine, other = deal(), await made_by_hand(world.stub, deal(OTHERS))
        before = world.rows()
        request = ResolveOrder(erp="stub", idempotency_key=mine.idempotency_key, number=other.number or "", order=mine)

        shown = await ActivityEnvironment().run(world.activities.resolve_order, request)

        assert shown.order is None
        assert shown.differences is not None
        assert "another customer" in shown.differences
        assert before == world.rows()

        accepted = request.model_copy(update={"accept_differences": True})
        taken = await ActivityEnvironment().run(world.activities.resolve_order, accepted)
        assert taken.order is not None
        assert (other.id, Origin.RESOLVED, False) == (taken.order.id, taken.order.origin, taken.keyless)


@pytest.mark.parametrize("agrees", [True, False], ids=["amounts agree", "amounts differ"])
async def test_i1_a_deal_never_touches_the_order_that_its_number_names(
    agrees: bool,  # noqa: FBT001
) -> None:
    """From the message to the un-win, with every policy that changes something, the other customer's order stays."""
    policies: dict[str, Any] = {"on_changed": "amend", "on_unqualified": "cancel", "grace": timedelta(seconds=0.1)}
    async with handoff(**policies) as world, world.working(subscriber=False):
        record = win(world)
        asked = await (world.made_by_hand(record) if agrees else made_by_hand(world.erp, deal(OTHERS)))
        world.erp.table.db.execute("UPDATE orders SET customer = '001000000000009AAA'")
        before = world.erp.orders()

        await notify(world, record, ERP_Order_Number__c=asked.number)
        await world.until_stage(record, names.OrderStage.ATTENTION)

        assert AttentionReason.ORDER_EXISTS == await attention_reason(world, record)
        assert before == world.erp.orders()
        await notify(world, record, StageName="Negotiation/Review")
        await until(lambda: has_acted(world, record))
        assert before == world.erp.orders()


async def has_acted(world: Handoff, record: RecordId) -> bool:
    """Whether the order has acted on the un-win: it asks for something else than before, or has ended."""
    return AttentionReason.ORDER_EXISTS != await attention_reason(world, record)


def restore_erp(world: Handoff) -> None:
    """The ERP is as it was before its first order, and gives the numbers of lost orders away again."""
    db = world.erp.table.db
    db.executescript("DELETE FROM orders; DELETE FROM sqlite_sequence;")


def erp_rows(world: Handoff) -> list[dict[str, Any]]:
    """Every order with every column, read from the stub's database."""
    return [dict(row) for row in world.erp.table.db.execute("SELECT * FROM orders ORDER BY id")]


@pytest.mark.parametrize("agrees", [True, False], ids=["amounts agree", "amounts differ"])
async def test_i1_fix_after_an_erp_restore_touches_no_other_order(agrees: bool) -> None:  # noqa: FBT001
    """The ERP has given the numbers to other orders: what `--fix` starts places a new order or asks a person."""
    policies: dict[str, Any] = {"on_changed": "amend", "on_unqualified": "cancel", "write_back": WITH_KEY}
    async with handoff(grace=timedelta(0), **policies) as world, world.working(subscriber=False):
        first, second = await ordered_deals(world, 2)
        number = world.number_of(first)
        lines = (await world.made_by_hand(first)).line_count  # what it looks like, before the restore
        restore_erp(world)
        mine = await world.made_by_hand(first) if agrees else await made_by_hand(world.erp, deal(OTHERS))
        world.erp.table.db.execute("UPDATE orders SET customer = '001000000000009AAA'")
        world.org.seed(1)
        (third,) = await world.win(1)
        await world.order(third).result()
        assert (number, world.number_of(second)) == (mine.number, world.number_of(third))
        before = erp_rows(world)

        assert {first: [FindingKind.UNKNOWN_NUMBER], second: [FindingKind.UNKNOWN_NUMBER]} == await finding_kinds(world)
        assert 2 == await repair(world.settings, world.client, await world.audit())
        await world.until_stage(first, names.OrderStage.ATTENTION)
        await world.order(second).result()

        assert AttentionReason.ORDER_EXISTS == await attention_reason(world, first)
        assert before == erp_rows(world)[:2]
        assert [idempotency_key(world.org.org_id, second)] == [row["idempotency_key"] for row in erp_rows(world)[2:]]
        assert lines == before[0]["line_count"] or not agrees
        world.org.update("Opportunity", first, StageName="Negotiation/Review")
        await notify(world, first)
        await until(lambda: has_acted(world, first))
        assert before == erp_rows(world)[:2]


async def test_i1_the_audit_reports_a_foreign_order_with_our_key() -> None:
    """Somebody else's order under a deal's key: without an origin, or adopted though it does not agree."""
    async with handoff(write_back=WITH_KEY, on_changed="ignore") as world, world.working(subscriber=False):
        unknown, adopted, whole = await ordered_deals(world, 3)
        db = world.erp.table.db
        at = "WHERE idempotency_key LIKE ?"
        db.execute(f"UPDATE orders SET origin = NULL {at}", (f"%{unknown}",))  # noqa: S608 - constant
        db.execute(f"UPDATE orders SET origin = 'adopted' {at}", (f"%{whole}",))  # noqa: S608 - constant
        db.execute(
            f"UPDATE orders SET origin = 'adopted', amount = '23600.00', line_count = 1 {at}",  # noqa: S608 - constant
            (f"%{adopted}",),
        )

        assert {unknown: [FindingKind.FOREIGN_ORDER], adopted: [FindingKind.FOREIGN_ORDER]} == await finding_kinds(
            world
        )
        db.execute("UPDATE orders SET origin = NULL")  # an ERP that keeps no origins says nothing about it
        assert {} == await finding_kinds(world)
