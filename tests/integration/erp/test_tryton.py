"""What is specific to Tryton: what a sale needs besides the order, and the answers of its API."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from closedwon.erp.base import ErpAuthFailedError, RejectedError, find_or_create
from closedwon.erp.tryton import TrytonAdapter
from closedwon.errors import AttentionReason
from closedwon.model.erp import ErpStatus
from tests.integration.erp.worlds import Clock, TrytonProcess, new_order, new_product, until_done

PRODUCT = "model.product.template"


async def tax_of(tryton: TrytonProcess, key: str) -> Decimal:
    """The tax on the sale under a key."""
    (sale,) = await tryton.sales(key, "tax_amount")
    return Decimal(sale["tax_amount"]["decimal"])


async def test_what_the_deal_says_is_on_the_sale(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """Deal name, reference, date, line texts, free fields, customer and address are stored in the sale."""
    today = datetime.now(UTC).date()
    order = new_order(
        reference="PO-77", extra={"comment": "Deliver at the back door"}, delivery_date=today + timedelta(30)
    )
    order = order.model_copy(
        update={"lines": tuple(line.model_copy(update={"description": "as agreed"}) for line in order.lines)}
    )

    await find_or_create(erp, order)

    (sale,) = await tryton.sales(
        order.idempotency_key,
        *("description", "reference", "comment", "shipping_date", "payment_term.name", "lines.description"),
        *("party.name", "party.code", "shipment_address.city", "shipment_address.country.code"),
    )
    assert ("Generators for Edge", "PO-77", "Deliver at the back door") == (
        sale["description"],
        sale["reference"],
        sale["comment"],
    )
    assert (today + timedelta(30)).day == sale["shipping_date"]["day"]
    assert ["as agreed"] * 2 == [line["description"] for line in sale["lines"]]
    assert (order.customer.name, order.customer.id) == (sale["party"]["name"], sale["party"]["code"])
    assert ("Austin", "US") == (sale["shipment_address"]["city"], sale["shipment_address"]["country"]["code"])
    assert "Net 30" == sale["payment_term"]["name"]


async def test_lines_are_taxed(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """The taxes of the product's category are sent, since the API adds none by itself."""
    order = new_order()

    await find_or_create(erp, order)

    assert Decimal("2240.00") == await tax_of(tryton, order.idempotency_key)


@pytest.mark.parametrize("dies_as_draft", [False, True])
async def test_a_customers_tax_rule_applies(tryton: TrytonProcess, erp: TrytonAdapter, dies_as_draft: bool) -> None:  # noqa: FBT001
    """An exempt customer is not taxed, also when the attempt that made the draft died before it was quoted."""
    order = new_order()
    (tax,) = await tryton.rpc("model.account.tax.search", [["name", "=", "VAT 20%"]], 0, None, None)
    (rule,) = await tryton.rpc(
        "model.account.tax.rule.create",
        [{"name": "Export", "kind": "sale", "company": 1, "lines": [["create", [{"origin_tax": tax}]]]}],
    )
    party = {"name": "Exempt", "code": order.customer.id, "customer_tax_rule": rule, "addresses": [["create", [{}]]]}
    await tryton.rpc("model.party.party.create", [party])

    if dies_as_draft:
        found = await erp.create(order)
        await tryton.rpc("model.sale.sale.draft", [int(found.id)])
        (sale,) = await tryton.sales(order.idempotency_key, "lines.id")
        lines = [["write", [line["id"] for line in sale["lines"]], {"taxes": [["add", [tax]]]}]]
        await tryton.rpc("model.sale.sale.write", [int(found.id)], {"lines": lines})
        assert Decimal("2240.00") == await tax_of(tryton, order.idempotency_key)
    await find_or_create(erp, order)

    assert Decimal(0) == await tax_of(tryton, order.idempotency_key)


async def test_a_tax_rule_may_put_another_tax(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """Where a rule replaces a tax, Tryton's own answer is written to the sale."""
    order = new_order()
    posted = ["invoice_account", "credit_note_account"]
    (tax,) = await tryton.rpc("model.account.tax.search_read", [["name", "=", "VAT 20%"]], 0, 1, None, posted)
    reduced = {"name": "VAT 5%", "description": "VAT 5%", "type": "percentage", "rate": "0.05", "company": 1}
    accounts = {name: tax[name] for name in posted}
    (other,) = await tryton.rpc("model.account.tax.create", [reduced | accounts])
    lines = [["create", [{"origin_tax": tax["id"], "tax": other}]]]
    (rule,) = await tryton.rpc(
        "model.account.tax.rule.create", [{"name": "Reduced", "kind": "sale", "company": 1, "lines": lines}]
    )
    party = {"name": "Reduced", "code": order.customer.id, "customer_tax_rule": rule}
    await tryton.rpc("model.party.party.create", [party])

    await find_or_create(erp, order)

    assert Decimal("560.00") == await tax_of(tryton, order.idempotency_key)


async def test_deals_of_one_customer_share_one_party(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """Six deals of a new customer at the same moment make one party, with the Account id as its code."""
    customer = new_order().customer
    orders = [new_order(customer=customer) for _ in range(6)]

    await asyncio.gather(*(until_done(erp, order) for order in orders))

    parties = await tryton.rpc("model.party.party.search", [["code", "=", customer.id]], 0, None, None)
    assert 1 == len(parties)


async def test_a_known_party_stays_as_it_is(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """A party that people maintain in Tryton keeps its name, and its invoice address is used."""
    order = new_order()
    addresses = [{"city": "Nowhere"}, {"city": "Invoices", "invoice": True}, {"city": "Goods", "delivery": True}]
    party = {"name": "Known", "code": order.customer.id, "addresses": [["create", addresses]]}
    await tryton.rpc("model.party.party.create", [party])

    await find_or_create(erp, order)

    (sale,) = await tryton.sales(order.idempotency_key, "party.name", "invoice_address.city", "shipment_address.city")
    assert "Known" == sale["party"]["name"]
    assert ("Invoices", "Goods") == (sale["invoice_address"]["city"], sale["shipment_address"]["city"])


async def test_an_unknown_country_does_not_hold_up_the_order(erp: TrytonAdapter) -> None:
    """A country that Tryton has not loaded is left out of a new customer's address."""
    order = new_order()
    order = order.model_copy(update={"customer": order.customer.model_copy(update={"country": "AQ"})})

    assert (await find_or_create(erp, order)).order.status.exists_as_order


async def test_amounts_keep_their_digits(erp: TrytonAdapter) -> None:
    """Trailing zeros are not taken for too many digits, and four decimals of a price survive."""
    order = new_order((("GC1040", "3.000", "0.12340000"), ("GC3020", "100", "9500.00")))

    assert Decimal("950000.37") == (await find_or_create(erp, order)).order.amount


async def test_a_refusal_quotes_tryton(erp: TrytonAdapter) -> None:
    """Half a generator cannot be sold: a person reads Tryton's sentence, without the customer's reference in it."""
    order = new_order((("GC1040", "1.5", "5000.00"),), reference="SECRET-REFERENCE")

    with pytest.raises(RejectedError, match="number of digits") as caught:
        await find_or_create(erp, order)

    assert AttentionReason.ERP_REJECTED is caught.value.reason
    assert "SECRET-REFERENCE" not in str(caught.value)


async def test_an_unknown_field_of_the_route_is_named(erp: TrytonAdapter) -> None:
    """A free field that Tryton's sale does not have is a mistake in the settings, not a fault of the server."""
    with pytest.raises(RejectedError, match="no field cost_centre") as caught:
        await find_or_create(erp, new_order(extra={"cost_centre": "77", "comment": "x"}))

    assert AttentionReason.CONFIGURATION is caught.value.reason
    assert "order.extra" in caught.value.hint


async def test_an_unknown_currency_is_named(erp: TrytonAdapter) -> None:
    """A currency that Tryton does not have is named."""
    with pytest.raises(RejectedError, match="no currency CHF"):
        await find_or_create(erp, new_order(currency="CHF"))


async def test_an_unknown_database_is_a_setting(tryton: TrytonProcess) -> None:
    """The error says that the database in the address is wrong."""
    settings = tryton.settings
    erp = TrytonAdapter(settings.model_copy(update={"url": settings.url.replace("/erp", "/nothing")}))

    with pytest.raises(RejectedError) as caught:
        await find_or_create(erp, new_order())
    await erp.close()

    assert AttentionReason.CONFIGURATION is caught.value.reason
    assert "erps[tryton]" in caught.value.hint


async def test_a_product_that_is_not_for_sale_is_unknown(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """A product that exists but is not salable is named, before anything is created."""
    code, _ = await new_product(tryton, salable=False)
    order = new_order(((code, "1", "10.00"),))

    with pytest.raises(RejectedError, match=code) as caught:
        await find_or_create(erp, order)

    assert AttentionReason.UNKNOWN_PRODUCT is caught.value.reason
    assert not await tryton.rpc("model.party.party.search", [["code", "=", order.customer.id]], 0, None, None)


async def test_a_cached_product_that_was_replaced_is_looked_up_again(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """If a cached product is refused, it is looked up again in the same attempt, without a restart of a worker."""
    code, old = await new_product(tryton)
    await find_or_create(erp, new_order(((code, "1", "10.00"),)))
    await tryton.rpc(f"{PRODUCT}.write", [old], {"salable": False, "code": f"{code}-old"})
    _, new = await new_product(tryton)
    await tryton.rpc(f"{PRODUCT}.write", [new], {"code": code})
    order = new_order(((code, "1", "10.00"),))

    await find_or_create(erp, order)

    (sale,) = await tryton.sales(order.idempotency_key, "lines.product.template")
    assert new == sale["lines"][0]["product"]["template"]


async def test_a_changed_tax_is_seen_after_a_minute(tryton: TrytonProcess, erp: TrytonAdapter, clock: Clock) -> None:
    """A cached product is read again after a minute, because Tryton never refuses an outdated tax."""
    (category,) = await tryton.rpc(
        "model.product.category.create", [{"name": "Untaxed", "accounting": True, "account_revenue": None}]
    )
    code, template = await new_product(tryton)
    await find_or_create(erp, new_order(((code, "1", "10.00"),)))
    await tryton.rpc(f"{PRODUCT}.write", [template], {"account_category": category})
    clock.now += 61
    order = new_order(((code, "1", "10.00"),))

    await find_or_create(erp, order)

    assert Decimal(0) == await tax_of(tryton, order.idempotency_key)


async def test_a_sale_that_tryton_cannot_process_counts_as_ordered(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """Without accounts the sale stays confirmed and Tryton records an error of its own: the order exists."""
    code, _ = await new_product(tryton, account_category=None)

    handoff = await find_or_create(erp, new_order(((code, "1", "10.00"),)))

    assert ErpStatus.CONFIRMED is handoff.order.status


async def test_check_reports_missing_rights(tryton: TrytonProcess) -> None:
    """`config check` reports a key whose user may not create sales, before the first deal."""
    name = uuid.uuid4().hex
    values = {"name": name, "login": name, "companies": [["add", [1]]], "company": 1}
    (user,) = await tryton.rpc("model.res.user.create", [values])
    await tryton.rpc("model.res.user.application.create", [{"user": user, "application": "rest", "key": name}])
    erp = TrytonAdapter(tryton.settings.model_copy(update={"key": SecretStr(name)}))

    with pytest.raises(ErpAuthFailedError, match=r"may not create .*sale\.sale") as caught:
        await erp.check()
    await erp.close()

    assert "group Sales" in caught.value.hint


async def test_a_new_order_takes_six_calls(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """An order of a known customer takes exactly find, party, create, quote, confirm and find."""
    customer = new_order().customer
    await find_or_create(erp, new_order(customer=customer))
    calls: list[str] = []
    call = erp._api._http.call

    async def counted(method: str, path: str, **rest: Any) -> Any:
        calls.append(f"{method} {path.rpartition('/')[2]}")
        return await call(method, path, **rest)

    erp._api._http.call = counted  # type: ignore[method-assign]  # a counter in front of the real thing
    await find_or_create(erp, new_order(customer=customer))

    expected = ["GET sale.sale", "GET party.party", "POST sale.sale", *["POST external_change"] * 2, "GET sale.sale"]
    assert expected == calls
    assert tryton.settings.url  # the real one answered


async def test_a_total_decides_where_a_price_cannot(erp: TrytonAdapter) -> None:
    """Discounted lines have their signed totals in Tryton although no exact price exists; the deal agrees then."""
    order = new_order((("GC1040", "3", "33.33"), ("GC3020", "2", "100.00"), ("SL9080", "7", "16.009999999999998")))
    totals = ("100.00", "180.00", "112.07")
    lines = [line.model_copy(update={"total": Decimal(total)}) for line, total in zip(order.lines, totals, strict=True)]
    order = order.model_copy(update={"lines": tuple(lines), "total": Decimal("392.07")})

    found = (await find_or_create(erp, order)).order

    assert Decimal("392.07") == found.amount
    assert (await find_or_create(erp, order)).adopted


async def test_a_price_with_too_many_decimals_is_refused_before_anything_is_made(
    tryton: TrytonProcess, erp: TrytonAdapter
) -> None:
    """Tryton keeps four decimals of a price and says so; a person reads how to round, and no customer was made."""
    order = new_order((("GC1040", "2", "133.3300001"),))

    with pytest.raises(RejectedError, match="4 decimals") as caught:
        await find_or_create(erp, order)

    assert "round(…, 4)" in caught.value.hint
    assert not await tryton.rpc("model.party.party.search", [["code", "=", order.customer.id]], 0, None, None)


async def test_many_products_are_looked_up_in_short_requests(erp: TrytonAdapter) -> None:
    """Three hundred long codes never make a URL that is too long; the error names all missing codes."""
    longest = 0
    call = erp._api._http.call

    async def measured(method: str, path: str, **rest: Any) -> Any:
        nonlocal longest
        longest = max(longest, sum(len(name) + len(value) + 2 for name, value in rest.get("params") or []))
        return await call(method, path, **rest)

    erp._api._http.call = measured  # type: ignore[method-assign]  # a measure in front of the real thing
    codes = [f"NO-SUCH-{n}-{'x' * (n % 60)}" for n in range(300)]

    with pytest.raises(RejectedError, match="NO-SUCH-299") as caught:
        await find_or_create(erp, new_order([(code, "1", "1.00") for code in codes]))

    assert AttentionReason.UNKNOWN_PRODUCT is caught.value.reason
    assert 1000 < longest < 4000
