"""The models keep money exact, times aware and themselves unchanged on their way through Temporal."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from closedwon.ids import OrgId, RecordId
from closedwon.model.erp import ErpStatus
from closedwon.model.messages import Message
from closedwon.model.orders import Customer, Order, OrderLine, parse_idempotency_key
from closedwon.model.routes import Channel

decimals = st.decimals(min_value=-(10**9), max_value=10**9, places=4)
lines = st.builds(OrderLine, product=st.just("GC1040"), quantity=decimals, unit_price=decimals)


def an_order(*order_lines: OrderLine) -> Order:
    """Make an order with the given lines."""
    return Order(
        org=OrgId("00D5g000004Kx1X"),
        record=RecordId("0065g00000AbCdE"),
        name="Roof",
        customer=Customer(id=RecordId("0015g00000AbCdE"), name="Acme"),
        currency="EUR",
        lines=order_lines,
        order_date=date(2025, 11, 3),
    )


@given(st.lists(lines, min_size=1, max_size=5))
def test_an_order_survives_its_way_through_temporal(order_lines: list[OrderLine]) -> None:
    """What the ERP gets is exactly what Salesforce said, to the last digit."""
    order = an_order(*order_lines)
    back = Order.model_validate_json(order.model_dump_json())
    assert order == back
    assert order.amount == back.amount
    assert [str(line.unit_price) for line in order.lines] == [str(line.unit_price) for line in back.lines]


def test_the_amount_is_the_sum_of_the_lines() -> None:
    """No binary rounding: three times 0.1 is 0.3."""
    line = OrderLine(product="GC1040", quantity=Decimal("0.1"), unit_price=Decimal(1))
    assert Decimal("0.3") == an_order(line, line, line).amount


def test_the_idempotency_key_has_org_and_record() -> None:
    """The same record id in a sandbox is another order."""
    line = OrderLine(product="GC1040", quantity=Decimal(1), unit_price=Decimal(1))
    order = an_order(line)
    assert "00D5g000004Kx1XEAS:0065g00000AbCdEAAV" == order.idempotency_key
    assert (order.org, order.record) == parse_idempotency_key(order.idempotency_key)
    assert (order.org, order.record) == parse_idempotency_key("00D5g000004Kx1X:0065g00000AbCdE")


def test_an_order_without_lines_is_refused() -> None:
    """An empty order in the ERP is never intended."""
    with pytest.raises(ValidationError, match="lines"):
        an_order()


def test_models_cannot_be_changed() -> None:
    """What a workflow remembers is what was sent."""
    line = OrderLine(product="GC1040", quantity=Decimal(1), unit_price=Decimal(1))
    with pytest.raises(ValidationError, match="frozen"):
        line.quantity = Decimal(2)  # type: ignore[misc]


def test_a_refused_value_is_not_shown() -> None:
    """Errors end in logs and in Temporal's UI, where no customer's data may be."""
    with pytest.raises(ValidationError) as caught:
        OrderLine.model_validate({"product": "GC1040", "quantity": "secret", "unit_price": 1})
    assert "quantity" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_time_without_zone_is_refused() -> None:
    """Every time is aware."""
    Message(id="1", channel=Channel.OPERATOR, received_at=datetime(2025, 11, 3, tzinfo=UTC))
    with pytest.raises(ValidationError, match="timezone"):
        Message(id="1", channel=Channel.OPERATOR, received_at=datetime(2025, 11, 3))  # noqa: DTZ001 - the mistake


@pytest.mark.parametrize("status", list(ErpStatus))
def test_every_state_after_confirmed_is_success(status: ErpStatus) -> None:
    """An order that the ERP has already shipped is not created again."""
    assert (status in {"confirmed", "processing", "done"}) == status.exists_as_order
