"""Checks of an answer's content: lines, money, customer, and what is stored with the key."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from closedwon.certify.bench import Bench, check, later, line, require_content, require_moment
from closedwon.certify.check import NotOfferedError, require
from closedwon.erp.base import find_or_create
from closedwon.erp.comparing import differs, unlike_terms
from closedwon.erp.errors import RejectedError
from closedwon.errors import AttentionReason
from closedwon.model.erp import Origin
from closedwon.money import minor_digits, money

_BY_HAND: Final = "An order made by hand is never adopted without a person."
_NO_PRODUCT: Final = "CLOSEDWON-NO-SUCH-PRODUCT"
_OTHER_CURRENCIES: Final = {"JPY": ("3", "1050"), "KWD": ("3", "1.234")}
"""Without decimals and with three: quantity and unit price of a line."""


@check("lines", "Several lines, discounts, rounded prices and all kinds of letters come back as they were sent.")
async def lines(bench: Bench) -> str:
    """Totals must be exact; a unit price may be rounded. The position of a line must not matter."""
    products = bench.plan.products
    sent = (
        line(products[0], "2", "90.00", list_price=Decimal("100.00"), discount_percent=Decimal(10), total=Decimal(180)),
        line(products[-1], "3", "33.333333", total=Decimal("100.00")),
        line(products[0], "7", "1.762857142857", total=Decimal("12.34"), description="Größe „L“ 大 🧪 & <b>"),
        line(products[-1], "1000", "0.0125"),
    )
    order = bench.order(sent, total=sum((each.amount for each in sent), Decimal(0)))
    _, found = await bench.made(order)
    require_content(found, order, "the order")
    if found.lines is None:
        raise NotOfferedError("no answer holds lines", f"Goods at the same price cannot be distinguished. {_BY_HAND}")
    return f"{len(sent)} lines, {money(found.amount, found.currency)}"


@check("currencies", "Amounts of currencies without decimals and with three agree, by the ERP's own rounding.")
async def currencies(bench: Bench) -> str:
    """An ERP may refuse a currency that it does not have."""
    facts, coarse = [], []
    for currency, (quantity, price) in _OTHER_CURRENCIES.items():
        order = bench.order([line(bench.plan.products[0], quantity, price)], currency=currency)
        try:
            _, found = await bench.made(order)
        except RejectedError:
            facts.append(f"{currency} is refused")
            continue
        if found.rounding is None and differs(found, order):
            coarse.append(currency)
            continue
        require_content(found, order, f"an order in {currency} (rounding {found.rounding or 'not given'})")
        facts.append(money(found.amount, currency))
    if coarse:
        raise NotOfferedError(
            f"{', '.join(coarse)}: amounts are rounded otherwise than by ISO 4217, and no answer holds `rounding`",
            f"Orders in {', '.join(coarse)} need attention as amount-differs.",
        )
    return ", ".join(facts)


@check("rounding", "Answers say in which smallest unit the ERP keeps amounts of the currency.")
async def rounding(bench: Bench) -> str:
    """`comparing` ignores a rounding above a whole unit."""
    order, found = await bench.sample()
    if found.rounding is None:
        digits = minor_digits(order.currency)
        raise NotOfferedError("no answer holds it", f"ISO 4217 counts: {digits} decimals for {order.currency}.")
    require(0 < found.rounding <= 1, f"{found.rounding} is not the smallest unit of a currency")
    return f"{found.rounding} {order.currency}"


@check("customer", "Answers say for which customer the order is: with what was sent.")
async def customer(bench: Bench) -> str:
    """Every other check compares it as well."""
    order, found = await bench.sample()
    if found.customer is None:
        raise NotOfferedError("no answer holds it", f"A changed customer is not noticed. {_BY_HAND}")
    require(found.customer == order.customer.reference, "another customer is named than the one that was sent")
    return "the customer that was sent"


@check("order-date", "Answers hold the date of the order.")
async def order_date(bench: Bench) -> str:
    """Closedwon uses it to reject an order that is older than the record."""
    order, found = await bench.sample()
    if found.order_date is None:
        raise NotOfferedError("no answer holds it", _BY_HAND)
    require(found.order_date == order.order_date, f"{found.order_date} instead of {order.order_date}")
    return str(found.order_date)


@check("terms", "Answers hold the customer's order number and the requested delivery date, as they were sent.")
async def terms(bench: Bench) -> str:
    """`amend` sends changed terms; an ERP without terms for an order must answer with an empty text."""
    order, found = await bench.sample()
    require(not unlike_terms(found, order), f"not what was sent: {', '.join(unlike_terms(found, order))}")
    _, bare = await bench.made(bench.order(reference=None, delivery_date=None))
    require(not (bare.reference or bare.delivery_date), "an order that was sent without them has some")
    fields = ("reference", "delivery_date")
    if lacking := [name for name in fields if getattr(found, name) is None]:
        unnoticed = "That it is changed in Salesforce after the order is not noticed."
        raise NotOfferedError(f"no answer holds {' or '.join(lacking)}", unnoticed)
    if silent := [name for name in fields if getattr(bare, name) is None]:
        unnoticed = "That it is added in Salesforce after the order is not noticed."
        raise NotOfferedError(f"{' and '.join(silent)} of an order without one is not an empty text", unnoticed)
    return "what was sent"


@check("origin", "The ERP keeps beside the key that Closedwon has made the order.")
async def origin(bench: Bench) -> str:
    """The creation stores it."""
    _, found = await bench.sample()
    if found.origin is None:
        raise NotOfferedError("no answer holds it", "No policy of a route changes, reopens or cancels an order.")
    require(found.origin is Origin.CREATED, f"an order that was created has the origin {found.origin.value}")
    return found.origin.value


@check("modified-at", "The ERP keeps the time of the newest state of the record that it was informed of.")
async def modified_at(bench: Bench) -> str:
    """The checks of changes and cancellations verify it for those."""
    order, found = await bench.sample()
    if found.modified_at is None:
        raise NotOfferedError(
            "no answer holds it",
            "A late notification about an older state is not recognized once the order's workflow has ended.",
        )
    require_moment(found, order, "the created order")
    newer = later(order, 60)
    claimed = await bench.erp.claim(found, order.idempotency_key, origin=Origin.CREATED, modified_at=newer.modified_at)
    if claimed is None:
        return f"{found.modified_at}, from the creation"
    now = await bench.shown(order.idempotency_key)
    require(now.modified_at, "it is lost when a newer one is stored")
    require_moment(now, newer, "the claimed order")
    require(now.origin == found.origin, "the origin is lost when a newer time is stored")
    return f"{found.modified_at}, and a minute later when that is stored"


@check("link", "Answers hold a link for people.")
async def link(bench: Bench) -> str:
    """Closedwon writes it to a field of the record."""
    _, found = await bench.sample()
    if not found.url:
        raise NotOfferedError("no answer holds it", "Salesforce gets no link to the order.")
    require(found.url.startswith(("https://", "http://")), "it is not an http(s) address")
    return "there is one"


@check("unknown-product", "A product that the ERP does not have is refused as such, and nothing is made.")
async def unknown_product(bench: Bench) -> str:
    """Dashboards and alerts use the reason."""
    order = bench.order([line(_NO_PRODUCT, "1", "1.00")])
    try:
        await find_or_create(bench.erp, order)
    except RejectedError as error:
        require(await bench.erp.find(order.idempotency_key) is None, "an order was made although it was refused")
        if error.reason is AttentionReason.UNKNOWN_PRODUCT:
            return "refused as unknown-product"
        raise NotOfferedError(
            f"refused as {error.reason.value}",
            f"It needs attention as {error.reason.value}, without the product's code.",
        ) from None
    raise NotOfferedError("an order with a made-up product is taken", "A mistyped product code is not noticed.")


ALL = (
    lines,
    currencies,
    rounding,
    customer,
    order_date,
    terms,
    origin,
    modified_at,
    link,
    unknown_product,
)
