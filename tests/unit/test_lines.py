"""What a line costs is exact, whichever of unit price, discount and total the route maps."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedwon.errors import AttentionReason
from closedwon.mapping.lines import LineDiffersError, UnusualAmountError
from closedwon.mapping.orders import MappingError
from closedwon.settings import Route
from tests.support.mapping import deal, example_route, line, line_of, order_of, record_of

PRICE, DISCOUNT, TOTAL = 'unit_price = "UnitPrice"', 'discount = "Discount" ', 'total = "TotalPrice"'
ROUTE = example_route()


def route_with(*mapped: str, amount: bool = False) -> Route:
    """The example's route with only some of the three facts mapped."""
    changes = [(each, f"# {each}") for each in (PRICE, DISCOUNT, TOTAL) if each not in mapped]
    if amount:
        changes.append(('discount = "Discount" ', 'discount = { amount = "Discount" } '))
    return example_route(*changes)


class Costs(NamedTuple):
    """What an order line says."""

    unit_price: str
    amount: str
    list_price: str | None = None
    percent: str | None = None
    total: str | None = None


def costs(fields: dict[str, Any], route: Route) -> Costs:
    """Map one line, and write its numbers as texts without trailing zeros."""
    found = line_of(fields, route)
    numbers = (found.unit_price, found.amount, found.list_price, found.discount_percent, found.total)
    return Costs(*(None if one is None else f"{one.normalize():f}" for one in numbers))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mapped", "fields", "expected"),
    [
        ((PRICE,), line(2, 100, Discount=10, TotalPrice=180), Costs("100", "200")),
        ((PRICE, DISCOUNT), line(2, 100), Costs("100", "200")),
        ((PRICE, DISCOUNT), line(2, 100, Discount=0), Costs("100", "200")),
        ((PRICE, DISCOUNT), line(2, 100, Discount=10), Costs("90", "180", "100", "10")),
        ((PRICE, DISCOUNT), line(3, "33.33", Discount="7.5"), Costs("30.83025", "92.49075", "33.33", "7.5")),
        ((PRICE, DISCOUNT), line(2, 100, Discount=100), Costs("0", "0", "100", "100")),
        ((PRICE, TOTAL), line(2, 100, TotalPrice=200), Costs("100", "200", total="200")),
        ((PRICE, TOTAL), line(2, 100, TotalPrice=180), Costs("90", "180", "100", total="180")),
        ((PRICE, TOTAL), line(3, 40, TotalPrice=100), Costs("33.3333333333", "100", "40", total="100")),
        ((PRICE, TOTAL), line(2, 100), Costs("100", "200")),
        ((TOTAL,), line(2, 100, TotalPrice=180), Costs("90", "180", total="180")),
        ((TOTAL,), line(8, 1, TotalPrice=1), Costs("0.125", "1", total="1")),
        ((TOTAL,), line(3, 1, TotalPrice=100), Costs("33.3333333333", "100", total="100")),
        ((TOTAL,), line(3, 1, TotalPrice=200), Costs("66.6666666667", "200", total="200")),
        ((TOTAL,), line(3, 1, TotalPrice=-100), Costs("-33.3333333333", "-100", total="-100")),
        ((PRICE, DISCOUNT, TOTAL), line(2, 100, Discount=10, TotalPrice=180), Costs("90", "180", "100", "10", "180")),
        (
            (PRICE, DISCOUNT, TOTAL),
            line(3, "33.33", Discount=10, TotalPrice="89.99"),
            Costs("29.997", "89.99", "33.33", "10", "89.99"),
        ),
        ((PRICE, DISCOUNT, TOTAL), line(2, None, Discount=10, TotalPrice=180), Costs("90", "180", total="180")),
        ((PRICE, DISCOUNT, TOTAL), line(2, 100, Discount=10), Costs("90", "180", "100", "10")),
    ],
)
def test_a_line_costs_what_was_signed(mapped: tuple[str, ...], fields: dict[str, Any], expected: Costs) -> None:
    """The unit price is net; the total counts where there is one, and where the price cannot say it exactly."""
    offset = deal(line(1, 1000, TotalPrice=1000), fields)  # keeps the order's total positive where the line is not
    (_, found) = record_of(offset, route_with(*mapped)).order().lines
    numbers = (found.unit_price, found.amount, found.list_price, found.discount_percent, found.total)
    assert expected == tuple(None if one is None else f"{one.normalize():f}" for one in numbers)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (line(2, 100, Discount=20), Costs("90", "180", "100")),
        (line(3, 100, Discount=100), Costs("66.6666666667", "200", "100", total="200")),
        (line(2, 100), Costs("100", "200")),
        (line(2, 100, Discount=200), Costs("0", "0", "100")),
    ],
)
def test_a_discount_may_be_an_amount_off_the_line(fields: dict[str, Any], expected: Costs) -> None:
    """Where the rest cannot be divided, the line's total says it."""
    assert expected == costs(fields, route_with(PRICE, DISCOUNT, amount=True))


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        ("90.01", Costs("30.0036666667", "90.01", "33.337", total="90.01")),
        ("90.011", Costs("30.0036666667", "90.011", "33.337", total="90.011")),
        (None, Costs("30.0036666667", "90.011", "33.337", total="90.011")),
    ],
)
def test_a_total_that_was_signed_stays_where_the_rest_cannot_be_divided(total: str | None, expected: Costs) -> None:
    """Price and discount give the total only if the record has none."""
    fields = line(3, "33.337", Discount=10, TotalPrice=total)
    assert expected == costs(fields, route_with(PRICE, DISCOUNT, TOTAL, amount=True))


@pytest.mark.parametrize("fields", [line(2, 100, Discount="200.01"), line(1, 0, Discount=5), line(1, -5, Discount=6)])
def test_a_discount_of_more_than_the_line_is_refused(fields: dict[str, Any]) -> None:
    """As a percentage above 100 is, also where another line keeps the total positive; a route may allow it."""
    route = route_with(PRICE, DISCOUNT, amount=True)
    with pytest.raises(UnusualAmountError, match=r"line 2 takes \S+ EUR off \S+ EUR") as caught:
        order_of(line(1, 1000), fields, route=route)
    assert caught.value.reason == AttentionReason.UNUSUAL_AMOUNT
    allows = route.model_copy(update={"order": route.order.model_copy(update={"allow": ("negative-total",)})})
    assert order_of(line(1, 1000), fields, route=allows).lines[1].amount < 0


def test_a_discount_on_a_line_of_negative_price_is_at_most_its_amount() -> None:
    """Such a line is a discount itself, and valid."""
    route = route_with(PRICE, DISCOUNT, amount=True)
    order = order_of(line(1, 1000), line(2, -100, Discount=200), line(2, -100), route=route)
    assert [1000, -400, -200] == [one.amount for one in order.lines]


@pytest.mark.parametrize(
    ("currency", "total", "agrees"),
    [
        ("EUR", "180.005", True),
        ("EUR", "179.995", True),
        ("EUR", "180.0051", False),
        ("EUR", "179.99", False),
        ("JPY", "180.5", True),
        ("JPY", "180.6", False),
        ("KWD", "180.0005", True),
        ("KWD", "180.001", False),
    ],
)
def test_a_line_may_differ_by_half_a_smallest_unit(currency: str, total: str, *, agrees: bool) -> None:
    """Salesforce rounds each line once, to the currency's decimals; beyond that the line contradicts itself."""
    fields = line(2, 100, Discount=10, TotalPrice=total)
    if agrees:
        assert Decimal(total) == line_of(fields, CurrencyIsoCode=currency).amount
        return
    with pytest.raises(LineDiffersError) as caught:
        order_of(line(), line(), fields, CurrencyIsoCode=currency)
    assert caught.value.reason == AttentionReason.AMOUNT_DIFFERS
    assert str(caught.value).startswith("line 3 says 1")


@pytest.mark.parametrize(
    ("route", "fields", "problem"),
    [
        (route_with(PRICE, DISCOUNT), line(Discount=-1), "order.lines.discount: .* not a percentage from 0 to 100"),
        (route_with(PRICE, DISCOUNT), line(Discount="100.1"), "not a percentage from 0 to 100"),
        (route_with(PRICE, DISCOUNT, amount=True), line(Discount=-1), "not an amount of at least 0"),
        (route_with(TOTAL), line(), r"order.lines.total: .* gives no value, but one is needed"),
        (route_with(PRICE, TOTAL), line(2, None), r"order.lines.unit_price: .* gives no value, but one is needed"),
        (route_with(PRICE), line(2, None), r"order.lines.unit_price: .* gives no value, but one is needed"),
    ],
)
def test_a_line_without_a_price_waits(route: Route, fields: dict[str, Any], problem: str) -> None:
    """What is missing or out of range is named by its key."""
    with pytest.raises(MappingError, match=problem):
        order_of(fields, route=route)


def test_a_line_of_quantity_zero_costs_nothing() -> None:
    """Where the route allows it; a total that is not zero has then no unit price."""
    allowed = route_with(TOTAL).model_copy(
        update={"order": route_with(TOTAL).order.model_copy(update={"allow": ("zero-quantity",)})}
    )
    assert Costs("0", "0", total="0") == costs(line(0, 1, TotalPrice=0), allowed)
    with pytest.raises(MappingError, match="a line of quantity 0 has a total that is not 0"):
        order_of(line(0, 1, TotalPrice=5), route=allowed)


cents = st.integers(1, 10**7).map(lambda number: Decimal(number).scaleb(-2))


@given(st.lists(st.tuples(cents, cents, st.integers(0, 100)), min_size=1, max_size=8))
def test_the_order_has_the_sum_of_the_totals(figures: list[tuple[Decimal, Decimal, int]]) -> None:
    """Whatever the figures, with totals rounded as Salesforce does, the order's amount is their exact sum."""
    totals = [round(quantity * price * (100 - percent) / 100, 2) for quantity, price, percent in figures]
    lines = [
        line(float(quantity), float(price), Discount=percent, TotalPrice=float(total))
        for (quantity, price, percent), total in zip(figures, totals, strict=True)
    ]
    order = record_of(deal(*lines, Amount=float(sum(totals))), ROUTE).order()
    assert sum(totals) == order.amount == order.total
