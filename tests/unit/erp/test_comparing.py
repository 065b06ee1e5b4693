"""Comparing two orders, case by case."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from closedwon.erp.comparing import (
    differences,
    differs,
    differs_from_head,
    other_customer,
    total_agrees,
    unlike_terms,
)
from closedwon.ids import OrgId, RecordId
from closedwon.model.erp import ErpLine, ErpOrder, ErpStatus, Origin
from closedwon.model.orders import Customer, Order, OrderHead, OrderLine


def _parts(text: str) -> list[tuple[str, Decimal, Decimal]]:
    """Parse product, quantity and unit price from e.g. `A 2 10.00, B 1 5.00`; `-` means no product."""
    return [
        ("" if code == "-" else code, Decimal(quantity), Decimal(price))
        for code, quantity, price in (line.split() for line in text.split(",") if line)
    ]


def sold(lines: str, currency: str = "EUR", /, **changes: Any) -> Order:
    """An order of the record."""
    order = Order(
        org=OrgId("00D000000000001"),
        record=RecordId("006000000000001"),
        name="Generators",
        customer=Customer(id=RecordId("001000000000001"), name="Edge"),
        currency=currency,
        lines=tuple(OrderLine(product=code, quantity=n, unit_price=price) for code, n, price in _parts(lines)),
        created_at=datetime(2026, 3, 31, 0, 30, tzinfo=UTC),
    )
    return order.model_copy(update=changes)


def held(lines: str | None, amount: str, currency: str = "EUR", /, **changes: Any) -> ErpOrder:
    """The ERP's order; `lines` None: it does not show them, but has one."""
    parts = None if lines is None else _parts(lines)
    order = ErpOrder(
        id="1",
        number="SO1",
        status=ErpStatus.CONFIRMED,
        currency=currency,
        amount=Decimal(amount),
        line_count=1 if parts is None else len(parts),
        lines=None
        if parts is None
        else tuple(ErpLine(product=code or None, quantity=n, unit_price=price) for code, n, price in parts),
        customer=RecordId("001000000000001"),
        order_date=date(2026, 3, 31),
    )
    return order.model_copy(update=changes)


TWO = "A 2 10.00, B 1 5.00"
UNNAMED = ErpLine(product=None, quantity=Decimal(2), unit_price=Decimal(10), other_unit=True)

DIFFERS: list[tuple[str, str, str | None, str, bool]] = [
    ("the same", TWO, TWO, "25.00", False),
    ("another order of lines", TWO, "B 1 5.00, A 2 10.00", "25.00", False),
    ("trailing zeros", TWO, "A 2.000 10.0, B 1 5", "25", False),
    ("prices swapped, same total", "A 1 10, B 1 5", "A 1 5, B 1 10", "15", True),
    ("products swapped", TWO, "B 2 10.00, A 1 5.00", "25.00", True),
    ("another quantity, same amount", TWO, "A 4 5.00, B 1 5.00", "25.00", True),
    ("a product twice, in another order", "A 1 3, A 1 7", "A 1 7, A 1 3", "10", False),
    ("a product twice, at other prices", "A 1 3, A 1 7", "A 1 5, A 1 5", "10", True),
    ("one of two lines twice", TWO, "A 2 10.00, A 2 10.00", "25.00", True),
    ("a line without product", TWO, "A 2 10.00, - 1 5.00", "25.00", True),
    ("a line less", TWO, "A 2 10.00", "25.00", True),
    ("lines not known", "A 2 10", None, "20.00", False),
    ("total above", "A 2 10", None, "20.006", True),
    ("total below", "A 2 10", None, "19.994", True),
    ("total rounded up", "A 2 10", None, "20.005", False),
    ("total rounded down", "A 2 10", None, "19.995", False),
    ("each of two lines rounded up", "A 1 0.335, B 1 0.335", "A 1 0.34, B 1 0.34", "0.68", False),
    ("one of two lines rounded too far", "A 1 0.335, B 1 0.335", "A 1 0.341, B 1 0.335", "0.676", True),
    ("one line off by a unit, another back", "A 1 1.00, B 1 1.00", "A 1 1.01, B 1 0.99", "2.00", True),
    ("a discount as a line", "A 1 10, D 1 -2", "D 1 -2, A 1 10", "8", False),
]


@pytest.mark.parametrize(("_case", "asked", "has", "amount", "expected"), DIFFERS)
def test_lines_are_compared_by_product_quantity_and_amount(
    _case: str,
    asked: str,
    has: str | None,
    amount: str,
    expected: bool,  # noqa: FBT001
) -> None:
    """Two orders are the same if their lines are, in whatever order, each rounded once at most."""
    assert expected is differs(held(has, amount), sold(asked))


ROUNDING: list[tuple[str, str, str, str | None, str, str, bool]] = [
    ("HUF without decimals in the ERP", "HUF", "10.40", "1", "31", "10.40", False),
    ("HUF, more than half a forint", "HUF", "10.60", "1", "31", "10.40", True),
    ("HUF, rounding not known: ISO has two digits", "HUF", "10.40", None, "31", "10.40", True),
    ("JPY by ISO", "JPY", "333.5", None, "1001", "333.5", False),
    ("JPY kept with two decimals", "JPY", "333.5", "0.01", "1001", "333.5", True),
    ("JPY kept with two decimals, exact", "JPY", "333.5", "0.01", "1000.50", "333.5", False),
    ("KWD has three digits", "KWD", "0.333", None, "1.001", "0.333", True),
    ("KWD rounded", "KWD", "0.3335", None, "1.001", "0.3335", False),
    ("EUR in four decimals", "EUR", "0.333", "0.0001", "1.00", "0.333", True),
    ("a rounding that lets everything agree", "EUR", "10.00", "1000", "90", "30", True),
    ("a rounding below zero", "EUR", "0.333", "-1", "1.00", "0.333", False),
    ("a rounding of zero", "EUR", "0.333", "0", "1.00", "0.333", False),
]  # fmt: skip


@pytest.mark.parametrize(("_case", "currency", "price", "unit", "amount", "erp_price", "expected"), ROUNDING)
def test_the_unit_is_the_erps_own_of_that_currency(
    _case: str,
    currency: str,
    price: str,
    unit: str | None,
    amount: str,
    erp_price: str,
    expected: bool,  # noqa: FBT001
) -> None:
    """What the ERP rounds to decides, in both directions; without that, ISO 4217 does."""
    line = ErpLine(product="A", quantity=Decimal(3), unit_price=Decimal(erp_price), total=Decimal(amount))
    rounding = None if unit is None else Decimal(unit)
    found = held("", amount, currency, line_count=1, lines=(line,), rounding=rounding)

    assert expected is differs(found, sold(f"A 3 {price}", currency))


def test_a_total_that_does_not_divide_counts_as_it_was_signed() -> None:
    """Three for 100.00: the price of one is rounded, the total of the line is not."""
    line = OrderLine(product="A", quantity=Decimal(3), unit_price=Decimal("33.33"), total=Decimal(100))
    erp_line = ErpLine(product="A", quantity=Decimal(3), unit_price=Decimal("33.33"), total=Decimal(100))
    order = sold("A 3 33.33", lines=(line,))

    assert not differs(held("", "100", lines=(erp_line,), line_count=1), order)
    assert not differs(held("A 3 33.3333", "100"), order)
    assert differs(held("A 3 33.33", "99.99"), order)


@pytest.mark.parametrize(
    ("currency", "lines", "total", "agrees"),
    [
        ("EUR", TWO, None, True),
        ("EUR", TWO, "25.00", True),
        ("EUR", TWO, "25.01", False),
        ("EUR", TWO, "24.99", False),
        ("EUR", "A 1 12.505, B 1 12.505", "25.02", True),
        ("EUR", "A 1 12.505, B 1 12.505", "25.03", False),
        ("EUR", "A 1 12.505, B 1 12.00", "24.51", True),
        ("EUR", "A 1 12.505, B 1 12.00", "24.52", False),
        ("EUR", "A 1 10.00, FREE 200 0.00", "10.01", False),
        ("EUR", "A 2 100.00", "180.00", False),
        ("JPY", TWO, "26", False),
        ("JPY", "A 1 12.5, B 1 12.5", "26", True),
        ("KWD", TWO, "25.001", False),
        ("KWD", "A 1 12.5005, B 1 12.5005", "25.002", True),
        ("EUR", TWO, "0", False),
    ],
)
def test_lines_must_add_up_to_what_was_signed(currency: str, lines: str, total: str | None, agrees: bool) -> None:  # noqa: FBT001
    """The deal's own total and its lines may differ by half a smallest unit per line that can be rounded."""
    order = sold(lines, currency, total=None if total is None else Decimal(total))

    assert agrees is total_agrees(order)


def test_a_lines_own_total_may_have_been_rounded_already() -> None:
    """Salesforce rounds two lines of 90.005 up, and their sum only once; a free line was not rounded."""
    half, free = (
        OrderLine(product="A", quantity=Decimal(1), unit_price=Decimal(total), total=Decimal(total))
        for total in ("90.01", "0.00")
    )
    assert total_agrees(sold(TWO, total=Decimal("180.01"), lines=(half, half)))
    assert not total_agrees(sold(TWO, total=Decimal("180.00"), lines=(half, half)))
    assert not total_agrees(sold(TWO, total=Decimal("90.02"), lines=(half, *[free] * 200)))


def test_everything_that_agrees_can_be_adopted() -> None:
    """Customer, total, currency, lines and date are known and the same."""
    assert [] == differences(held(TWO, "25.00"), sold(TWO))


@pytest.mark.parametrize(
    ("has", "record", "expected"),
    [
        ({"customer": None}, {}, ["the ERP does not say for which customer it is"]),
        ({"customer": "C-7"}, {}, ["it is for another customer"]),
        ({"currency": "USD"}, {}, ["it holds 25.00 USD on 2 line(s), and the record 25.00 EUR on 2 line(s)"]),
        ({"amount": Decimal(30)}, {}, ["it holds 30.00 EUR on 2 line(s), and the record 25.00 EUR on 2 line(s)"]),
        ({"lines": None}, {}, ["the ERP does not show its lines"]),
        (
            {"lines": held("B 2 10, A 1 5", "25").lines},
            {},
            ["product, quantity or price differs in the lines of A, B"],
        ),
        (
            {"lines": tuple(one.model_copy(update={"other_unit": True}) for one in held(TWO, "25.00").lines or ())},
            {},
            ["it counts A, B in another unit than they are sold in"],
        ),
        (
            {"lines": held("- 2 10, B 1 5", "25").lines},
            {},
            ["product, quantity or price differs in the lines of (none), A"],
        ),
        (
            {"lines": (*(held("B 1 5.00", "5").lines or ()), UNNAMED)},
            {},
            [
                "product, quantity or price differs in the lines of (none), A",
                "it counts (none) in another unit than they are sold in",
            ],
        ),
        ({"order_date": None}, {}, ["the ERP does not say when it was placed"]),
        ({}, {"created_at": None}, ["it is not known when the record was created"]),
        (
            {"order_date": date(2026, 3, 29)},
            {},
            ["it was placed on 2026-03-29, before the record was created on 2026-03-31"],
        ),
        ({"order_date": date(2026, 3, 30)}, {}, []),
        ({"order_date": date(2027, 1, 1)}, {}, []),
        ({"status": ErpStatus.CANCELLED}, {}, ["it is cancelled"]),
        (
            {"customer": "C-7", "order_date": date(2025, 11, 3)},
            {},
            ["it is for another customer", "it was placed on 2025-11-03, before the record was created on 2026-03-31"],
        ),
    ],
)
def test_each_difference_is_named_and_what_is_not_known_is_one(
    has: dict[str, Any], record: dict[str, Any], expected: list[str]
) -> None:
    """A person reads every difference in one sentence; no customer is named in it."""
    assert expected == differences(held(TWO, "25.00", **has), sold(TWO, **record))


def test_a_customer_with_a_number_of_the_erps_own_is_compared_by_it() -> None:
    """The Salesforce id means nothing to an ERP that has the customer under a number of its own."""
    by_number = Customer(id=RecordId("001000000000001"), number="C-7", name="Edge")

    assert not other_customer(held(TWO, "25.00", customer="C-7"), sold(TWO, customer=by_number))
    assert other_customer(held(TWO, "25.00"), sold(TWO, customer=by_number))
    assert not other_customer(held(TWO, "25.00", customer=None), sold(TWO, customer=by_number))


@pytest.mark.parametrize(
    ("rounding", "agrees"), [("1", True), ("1.01", False), ("2", False), ("0", False), ("-1", False)]
)
def test_a_rounding_coarser_than_a_whole_unit_is_not_believed(rounding: str, *, agrees: bool) -> None:
    """Every amount would agree with every other; the currency's own unit counts then."""
    found = held("A 1 10.00", "11.00", rounding=Decimal(rounding))
    assert agrees is not differs(found.model_copy(update={"lines": None}), sold("A 1 10.50"))


def test_a_rounding_to_two_whole_units_is_not_believed_though_the_amount_fits_it() -> None:
    """12 is even, and not 11."""
    found = held(None, "12.00", rounding=Decimal(2))
    assert differs(found, sold("A 1 11.00"))
    assert not differs(found.model_copy(update={"rounding": Decimal(1)}), sold("A 1 12.40"))


@pytest.mark.parametrize(
    ("total", "line", "agrees"),
    [("11", "11", True), ("11", None, True), ("10.90", "11", False), ("11", "10.90", False), ("11", "11.0", True)],
)
def test_a_rounding_that_an_amount_of_the_order_contradicts_is_not_believed(
    total: str,
    line: str | None,
    *,
    agrees: bool,
) -> None:
    """An ERP that keeps 10.90 does not round to whole units: 10.50 is another amount."""
    lines = (ErpLine(product="A", quantity=Decimal(1), unit_price=Decimal("10.50"), total=line and Decimal(line)),)
    found = held("A 1 10.50", total, rounding=Decimal(1), lines=lines)
    assert agrees is not differs(found, sold("A 1 10.50"))


def test_lines_that_cannot_be_rounded_do_not_hide_a_difference() -> None:
    """The ERP's total of many free lines is compared as exactly as that of one."""
    lines = ", ".join(["A 1 10.00", *["FREE 1 0.00"] * 200])
    found = held(lines, "11.00", rounding=Decimal("0.01"))
    assert differs(found.model_copy(update={"lines": None}), sold(lines))
    assert not differs(found.model_copy(update={"lines": None, "amount": Decimal(10)}), sold(lines))


ASKED: dict[str, Any] = {
    "reference": "PO-77", "order_date": date(2026, 3, 31), "delivery_date": date(2026, 4, 30),
}  # fmt: skip
NUMBER, ORDERED, DELIVERED = "the customer's order number", "the order date", "the delivery date"


@pytest.mark.parametrize(
    ("kept", "asked", "expected"),
    [
        ({}, {}, []),
        ({"reference": "PO-76"}, {}, [NUMBER]),
        ({"reference": "PO-78"}, {}, [NUMBER]),
        ({"reference": ""}, {}, [NUMBER]),
        ({"reference": "po-77"}, {}, [NUMBER]),
        ({"reference": " PO-77\n"}, {}, []),
        ({"reference": "PO 77"}, {"reference": "PO\r\n  77 "}, []),
        ({"reference": "PO77"}, {"reference": "PO 77"}, [NUMBER]),
        ({"reference": None}, {}, []),
        ({"reference": "PO-78"}, {"reference": None}, []),
        ({"order_date": date(2026, 3, 30)}, {}, [ORDERED]),
        ({"order_date": date(2026, 4, 1)}, {}, [ORDERED]),
        ({"order_date": None}, {}, []),
        ({"order_date": date(2026, 4, 1)}, {"order_date": None}, []),
        ({"delivery_date": date(2026, 4, 29)}, {}, [DELIVERED]),
        ({"delivery_date": date(2026, 5, 1)}, {}, [DELIVERED]),
        ({"delivery_date": ""}, {}, [DELIVERED]),
        ({"delivery_date": None}, {}, []),
        ({"delivery_date": ""}, {"delivery_date": None}, []),
        (
            {"reference": "PO-78", "order_date": date(2026, 3, 30), "delivery_date": ""},
            {},
            [NUMBER, ORDERED, DELIVERED],
        ),
    ],
)
@pytest.mark.parametrize("origin", [None, Origin.CREATED])
def test_a_changed_number_or_date_is_a_difference(
    kept: dict[str, Any], asked: dict[str, Any], expected: list[str], origin: Origin | None
) -> None:
    """In either direction, and only as far as both sides are known; an ERP that keeps an empty one has another one."""
    found = held(TWO, "25.00", origin=origin, **(ASKED | kept))
    order = sold(TWO, **(ASKED | asked))

    assert expected == unlike_terms(found, order)
    assert bool(expected) is differs(found, order)


@pytest.mark.parametrize("origin", [Origin.ADOPTED, Origin.RESOLVED])
def test_an_order_that_was_made_by_hand_has_terms_of_its_own(origin: Origin) -> None:
    """They did not matter when it was adopted; its lines and total still count."""
    terms = {"reference": "none", "order_date": date(2026, 3, 30), "delivery_date": "", "origin": origin}

    assert [] == unlike_terms(held(TWO, "25.00", **terms), sold(TWO, **ASKED))
    assert not differs(held(TWO, "25.00", **terms), sold(TWO, **ASKED))
    assert differs(held(TWO, "26.00", **terms), sold(TWO, **ASKED))
    assert differs(held("A 1 20.00, B 1 5.00", "25.00", **terms), sold(TWO, **ASKED))


def test_total_currency_lines_and_terms_count_each_for_itself() -> None:
    """Any one of them makes it another order."""
    assert not differs(held(TWO, "25.00", **ASKED), sold(TWO, **ASKED))
    for changes in (
        {"amount": Decimal("25.02")},
        {"currency": "USD"},
        {"line_count": 3},
        {"lines": held("A 4 5.00, B 1 5.00", "25.00").lines},
        {"reference": "PO-78"},
    ):
        assert differs(held(TWO, "25.00", **{**ASKED, **changes}), sold(TWO, **ASKED))


HEAD = OrderHead(
    customer="001000000000001AAA",
    currency="EUR",
    total=Decimal("25.00"),
    created_at=datetime(2026, 3, 31, 0, 30, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("has", "known", "expected"),
    [
        ({}, {}, False),
        ({"customer": None}, {}, False),
        ({"customer": "C-7"}, {}, True),
        ({"customer": "C-7"}, {"customer": "C-7"}, False),
        ({}, {"customer": "C-7"}, True),
        ({"currency": "CHF"}, {}, True),
        ({"currency": "USD"}, {}, True),
        ({}, {"total": None}, False),
        ({"amount": Decimal(900)}, {"total": None}, False),
        ({"amount": Decimal("25.01")}, {}, False),
        ({"amount": Decimal("24.99")}, {}, False),
        ({"amount": Decimal("25.011")}, {}, True),
        ({"amount": Decimal("24.989")}, {}, True),
        ({"amount": Decimal("25.02")}, {}, True),
        ({"amount": Decimal("24.98")}, {}, True),
        ({"amount": Decimal("25.02"), "line_count": 4}, {}, False),
        ({"amount": Decimal("25.03"), "line_count": 4}, {}, True),
        ({"amount": Decimal("25.01"), "line_count": 1}, {}, True),
        ({"amount": Decimal("25.005"), "line_count": 1}, {}, False),
        ({"amount": Decimal("24.995"), "line_count": 1}, {}, False),
        ({"amount": Decimal(26), "rounding": Decimal(1)}, {}, False),
        ({"amount": Decimal(27), "rounding": Decimal(1)}, {}, True),
        ({"amount": Decimal(-25)}, {}, True),
        ({"amount": Decimal(-25)}, {"total": Decimal(-25)}, False),
        ({"amount": Decimal(25)}, {"total": Decimal(-25)}, True),
        ({"amount": Decimal(0)}, {}, True),
        ({"amount": Decimal("0.01")}, {"total": Decimal(0)}, False),
        ({"amount": Decimal("0.02")}, {"total": Decimal(0)}, True),
        ({"order_date": date(2026, 3, 30)}, {}, False),
        ({"order_date": date(2026, 3, 29)}, {}, True),
        ({"order_date": date(2026, 4, 30)}, {}, False),
        ({"order_date": None}, {}, False),
        ({"order_date": date(2025, 1, 1)}, {"created_at": None}, False),
    ],
)
def test_of_a_record_without_lines_its_head_is_compared(
    has: dict[str, Any], known: dict[str, Any], *, expected: bool
) -> None:
    """Customer, currency, total and age, each as far as it is known: each line may have been rounded by half a unit."""
    found = held(None, "25.00", **{"line_count": 2, **has})

    assert expected is differs_from_head(found, HEAD.model_copy(update=known))
