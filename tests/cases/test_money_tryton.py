"""What people signed is what is ordered. Cases M1 to M10."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from closedwon.erp.base import RejectedError, amend_to, find_or_create
from closedwon.erp.tryton import TrytonAdapter
from closedwon.errors import AttentionReason
from closedwon.model.orders import Order, OrderLine
from tests.integration.erp.worlds import TrytonProcess, new_order


@pytest.fixture(scope="session")
async def forint(tryton: TrytonProcess) -> str:
    """A currency that Tryton keeps without decimals."""
    values = {"name": "Forint", "symbol": "Ft", "code": "HUF", "rounding": "1", "digits": 0}
    rate = {"date": {"__class__": "date", "year": 2000, "month": 1, "day": 1}, "rate": "400"}
    await tryton.rpc("model.currency.currency.create", [values | {"rates": [["create", [rate]]]}])
    return "HUF"


def with_line(order: Order, **changes: object) -> Order:
    """The order with these changes of its first line."""
    line = OrderLine.model_validate(order.lines[0].model_dump() | changes)
    return order.model_copy(update={"lines": (line, *order.lines[1:])})


@pytest.mark.parametrize("total", [None, "31.20", "31"])
async def test_m4_tryton_rounding_is_that_of_the_currency(
    tryton_erp: TrytonAdapter, forint: str, total: str | None
) -> None:
    """Tryton keeps forints without decimals: 31 is what a deal over 31.20 becomes, and both agree ever after."""
    order = with_line(new_order([("GC1040", "3", "10.40")], currency=forint), total=total)

    found = (await find_or_create(tryton_erp, order)).order

    assert (Decimal(31), Decimal(1)) == (found.amount, found.rounding)
    assert (await amend_to(tryton_erp, order)).adopted
    assert found == await tryton_erp.find(order.idempotency_key)


WRONG_VALUES = {
    "payment_term": ("Net 30", "many2one"),
    "shipping_date": ("tomorrow", "set from the order"),
    "invoice_method": ("never", "one of fulfillment, manual, order"),
    "warehouse": ("1.5", "many2one"),
    "untaxed_amount": ("5", "cannot be set"),
    "lines": ("1", "set from the order"),
    "state": ("done", "set from the order"),
    "external_id": ("x", "set from the order"),
    "create_date": ("2026-01-01", "cannot be set"),
    "moves": ("1", "cannot be set"),
}


@pytest.mark.parametrize("name", WRONG_VALUES)
async def test_m8_tryton_a_free_field_of_the_wrong_kind_needs_attention(
    tryton: TrytonProcess, tryton_erp: TrytonAdapter, name: str
) -> None:
    """A person reads at once which field takes what, and where it is set; nothing was created, and nothing quoted."""
    text, expected = WRONG_VALUES[name]
    order = new_order(extra={name: text})

    with pytest.raises(RejectedError, match=expected) as caught:
        await find_or_create(tryton_erp, order)

    assert caught.value.reason in {AttentionReason.MAPPING_FAILED, AttentionReason.CONFIGURATION}
    assert name in str(caught.value)
    assert f"`order.extra.{name}`" in caught.value.hint
    assert "Net 30" not in f"{caught.value} {caught.value.hint}"
    assert not await tryton.rpc("model.party.party.search", [["code", "=", order.customer.id]], 0, None, None)


@pytest.mark.parametrize(
    ("name", "text"), [("sequence", "first"), ("unit_price", "1"), ("sale", "1"), ("nothing", "1")]
)
async def test_m8_tryton_a_free_field_of_a_line_needs_attention(
    tryton_erp: TrytonAdapter, name: str, text: str
) -> None:
    """The same for the lines, under their own setting."""
    with pytest.raises(RejectedError, match=name) as caught:
        await find_or_create(tryton_erp, with_line(new_order(), extra={name: text}))

    assert f"`order.lines.extra.{name}`" in caught.value.hint


async def test_m8_tryton_free_fields_arrive_in_their_kind(tryton: TrytonProcess, tryton_erp: TrytonAdapter) -> None:
    """An id, a text, an option, and a whole number on a line are what Tryton has then."""
    at_once = {"name": "At once", "lines": [["create", [{"type": "remainder"}]]]}
    (term,) = await tryton.rpc("model.account.invoice.payment_term.create", [at_once])
    extra = {"payment_term": str(term), "comment": "Ring twice", "invoice_method": "manual"}
    order = with_line(new_order(extra=extra), extra={"sequence": "77", "note": "Blue"})

    await tryton_erp.create(order)

    fields = ("payment_term.name", "comment", "invoice_method", "lines.sequence", "lines.note")
    (sale,) = await tryton.sales(order.idempotency_key, *fields)
    assert ("At once", "Ring twice", "manual") == (
        sale["payment_term"]["name"],
        sale["comment"],
        sale["invoice_method"],
    )
    assert (77, "Blue") in [(line["sequence"], line["note"]) for line in sale["lines"]]


async def test_m9_tryton_a_customer_number_finds_the_customer(tryton: TrytonProcess, tryton_erp: TrytonAdapter) -> None:
    """A customer that Tryton has under a number of its own gets the order; no second party is made."""
    number = f"C-{uuid.uuid4().hex[:8]}"
    await tryton.rpc("model.party.party.create", [{"name": "Known", "code": number, "addresses": [["create", [{}]]]}])
    order = new_order(modified_at=datetime.now(UTC))
    order = order.model_copy(update={"customer": order.customer.model_copy(update={"number": number})})

    found = (await find_or_create(tryton_erp, order)).order

    assert number == found.customer == order.customer.reference
    assert (await find_or_create(tryton_erp, order)).adopted
    assert not await tryton.rpc("model.party.party.search", [["code", "=", order.customer.id]], 0, None, None)


async def test_m9_tryton_an_unknown_customer_number_needs_a_person(
    tryton: TrytonProcess, tryton_erp: TrytonAdapter
) -> None:
    """A number that Tryton does not know is never made a customer, and no order is made."""
    order, number = new_order(), f"C-{uuid.uuid4().hex[:8]}"
    order = order.model_copy(update={"customer": order.customer.model_copy(update={"number": number})})

    with pytest.raises(RejectedError, match="customer number") as caught:
        await find_or_create(tryton_erp, order)

    assert "order.customer.number" in caught.value.hint
    assert await tryton_erp.find(order.idempotency_key) is None
    codes = [["code", "in", [number, order.customer.id]]]
    assert not await tryton.rpc("model.party.party.search", codes, 0, None, None)
