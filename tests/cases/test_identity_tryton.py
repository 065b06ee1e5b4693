"""Cases I1, I2 and I4 on a real Tryton: which order belongs to a deal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from closedwon.erp.base import (
    CustomerDiffersError,
    OnRecord,
    OrderExistsError,
    WrongAnswerError,
    amend_to,
    checked,
    find_or_create,
)
from closedwon.erp.base import cancel_order as cancel
from closedwon.erp.tryton import TrytonAdapter
from closedwon.model.erp import ErpOrder, ErpStatus, Origin
from closedwon.model.orders import Order
from tests.integration.erp.worlds import TrytonProcess, new_order, new_product
from tests.support.tryton_proxy import Hooks, Params, behind_proxy


def of_today(**changes: Any) -> Order:
    """An order of a record that was created today and is known as of now."""
    now = datetime.now(UTC)
    return new_order(created_at=now, modified_at=now, **changes)


async def sale_by_hand(tryton: TrytonProcess, erp: TrytonAdapter, order: Order) -> ErpOrder:
    """A confirmed sale with the content of `order` and without Closedwon's fields, as people make it."""
    made = (await find_or_create(erp, order)).order
    own = dict.fromkeys(("external_id", "external_origin", "external_modified_at"))
    await tryton.rpc("model.sale.sale.write", [int(made.id)], own)
    by_hand = await erp.find_by_number(made.number or "")
    assert by_hand is not None
    return by_hand


class Forgetful(Hooks):
    """A proxy that drops the search terms: every search for sales yields the first sale."""

    async def before(self, path: str, _body: str, params: Params) -> Params:
        """Drop what is searched for."""
        return [*(pair for pair in params if pair[0] != "d"), ("s", "1")] if path == "sale.sale" else params


async def test_i1_tryton_a_sale_of_another_customer_is_not_touched(
    tryton: TrytonProcess, tryton_erp: TrytonAdapter
) -> None:
    """A number that names another customer's sale leaves that sale as it is, and a person reads what differs."""
    others = await sale_by_hand(tryton, tryton_erp, of_today())
    deal = of_today(lines=[("GC1040", "1", "7000.00")])

    for call in (find_or_create, amend_to):
        with pytest.raises(OrderExistsError, match=r"another customer.*11,?200") as caught:
            await call(tryton_erp, deal, said=OnRecord(number=others.number))
        assert "Edge" not in str(caught.value)

    assert others == await tryton_erp.find_by_number(others.number or "")
    assert await tryton_erp.find(deal.idempotency_key) is None


async def test_i1_tryton_a_sale_from_before_the_deal_is_not_adopted(
    tryton: TrytonProcess, tryton_erp: TrytonAdapter
) -> None:
    """Last year's sale of the same customer over the same amount is not this year's order."""
    last_year = await sale_by_hand(tryton, tryton_erp, of_today(order_date=datetime.now(UTC).date() - timedelta(365)))
    customer = new_order().customer.model_copy(update={"id": last_year.customer})

    with pytest.raises(OrderExistsError, match="before the record was created"):
        await find_or_create(tryton_erp, of_today(customer=customer), said=OnRecord(number=last_year.number))

    assert last_year == await tryton_erp.find_by_number(last_year.number or "")


async def test_i1_tryton_a_sale_that_agrees_is_adopted_and_marked_as_adopted(
    tryton: TrytonProcess, tryton_erp: TrytonAdapter
) -> None:
    """What agrees in everything is claimed; Tryton keeps that Closedwon did not make it, and how new the deal was."""
    deal = of_today()
    by_hand = await sale_by_hand(tryton, tryton_erp, deal.model_copy(update={"record": new_order().record}))

    adopted = (await find_or_create(tryton_erp, deal, said=OnRecord(number=by_hand.number))).order

    assert (by_hand.id, deal.idempotency_key) == (adopted.id, adopted.idempotency_key)
    assert (Origin.ADOPTED, deal.modified_at) == (adopted.origin, adopted.modified_at)


async def test_i1_tryton_a_line_in_another_unit_is_not_what_was_sold(
    tryton: TrytonProcess, tryton_erp: TrytonAdapter
) -> None:
    """Two pairs are not two pieces, though quantity and amount agree: a person is asked, and nothing is touched."""
    product, template = await new_product(tryton)
    deal = of_today(lines=[(product, "2", "10.00")])
    by_hand = await sale_by_hand(tryton, tryton_erp, deal.model_copy(update={"record": new_order().record}))
    unit = "model.product.uom"
    (piece,) = await tryton.rpc(f"{unit}.search_read", [["symbol", "=", "u"]], 0, 1, None, ["category"])
    pair = {"name": "Pair", "symbol": f"p{by_hand.id}", "category": piece["category"], "factor": 2.0, "rate": 0.5}
    (made,) = await tryton.rpc(f"{unit}.create", [pair])
    await tryton.rpc("model.product.template.write", [template], {"sale_uom": made})

    with pytest.raises(OrderExistsError, match=f"it counts {product} in another unit than they are sold in"):
        await find_or_create(tryton_erp, deal, said=OnRecord(number=by_hand.number))

    assert await tryton_erp.find(deal.idempotency_key) is None


async def test_i2_tryton_every_answer_carries_its_key(tryton_erp: TrytonAdapter) -> None:
    """Each call answers with the sale's own key, customer, day, origin and version."""
    order = of_today()
    key, since = order.idempotency_key, datetime.now(UTC) - timedelta(hours=1)

    answers = [await tryton_erp.create(order)]
    answers += [await tryton_erp.amend(answers[-1], order)]
    answers += [await tryton_erp.cancel(answers[-1], modified_at=order.modified_at)]
    answers += [found for found in [await tryton_erp.find(key)] if found]
    answers += (await tryton_erp.find_many([key]))[key]
    answers += [found async for key_of, found in tryton_erp.orders_since(order.org, since) if key_of == key]

    expected = (key, order.customer.id, datetime.now(UTC).date(), Decimal("0.01"), Origin.CREATED, order.modified_at)
    for found in answers:
        assert expected == (
            *(found.idempotency_key, found.customer, found.order_date, found.rounding, found.origin, found.modified_at),
        )
        assert found.version
    assert 6 == len(answers)
    assert 3 == len({found.version for found in answers})


async def test_i2_tryton_an_answer_about_another_sale_is_rejected(
    tryton: TrytonProcess, tryton_erp: TrytonAdapter
) -> None:
    """A proxy that drops the search terms answers with another deal's sale: this is an error, and no order is made."""
    await find_or_create(tryton_erp, of_today())
    deal = of_today()

    async with behind_proxy(tryton, Forgetful()) as erp:
        with pytest.raises(WrongAnswerError):
            await find_or_create(erp, deal)
        with pytest.raises(WrongAnswerError):
            await checked(erp).find_by_number("no-such-number")

    assert await tryton_erp.find(deal.idempotency_key) is None


async def test_i2_tryton_two_sales_with_one_number_are_an_error(
    tryton: TrytonProcess, tryton_erp: TrytonAdapter
) -> None:
    """Tryton's numbers are not unique: where two sales have the number, no order is taken and none is made."""
    by_hand = await sale_by_hand(tryton, tryton_erp, of_today())
    (sequence,) = await tryton.rpc(
        "model.ir.sequence.search_read", [["name", "=", "Sale"]], 0, None, None, ["number_next"]
    )
    await tryton.rpc("model.ir.sequence.write", [sequence["id"]], {"number_next": int(by_hand.number or "")})
    assert by_hand.number == (await tryton_erp.create(of_today())).number  # as after a restore
    await tryton.rpc("model.ir.sequence.write", [sequence["id"]], {"number_next": sequence["number_next"]})
    deal = of_today()

    with pytest.raises(WrongAnswerError):
        await find_or_create(tryton_erp, deal, said=OnRecord(number=by_hand.number))

    assert await tryton_erp.find(deal.idempotency_key) is None


async def test_i4_tryton_a_deal_that_moved_to_another_account_needs_a_person(tryton_erp: TrytonAdapter) -> None:
    """The sale stays the first customer's, unchanged, whether the route amends or not."""
    order = of_today()
    found = (await find_or_create(tryton_erp, order)).order
    moved = order.model_copy(update={"customer": new_order().customer})
    moved_and_changed = moved.model_copy(update={"lines": order.lines[:1]})

    for deal in (moved, moved_and_changed):
        for call in (find_or_create, amend_to):
            with pytest.raises(CustomerDiffersError):
                await call(tryton_erp, deal)

    assert found == await tryton_erp.find(order.idempotency_key)
    assert ErpStatus.PROCESSING is found.status
    assert not (await cancel(tryton_erp, new_order().idempotency_key)).order
