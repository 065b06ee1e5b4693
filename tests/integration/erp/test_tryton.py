"""What is particular to Tryton: what a sale needs beside the order, and what its API says in its own way."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from closedwon.erp.base import AuthFailedError, RejectedError, StaleError, amend_to, find_or_create
from closedwon.erp.tryton import TrytonAdapter
from closedwon.errors import AttentionReason
from closedwon.model import ErpStatus, Origin
from tests.integration.erp.worlds import TrytonProcess, new_order, new_org, new_product, until_done

PRODUCT = "model.product.template"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The adapter's clock."""
    return Clock()


@pytest.fixture
async def erp(tryton: TrytonProcess, clock: Clock) -> AsyncIterator[TrytonAdapter]:
    """The adapter."""
    adapter = TrytonAdapter(tryton.settings, clock=clock)
    yield adapter
    await adapter.close()


async def tax_of(tryton: TrytonProcess, key: str) -> Decimal:
    """The tax on the sale under a key."""
    (sale,) = await tryton.sales(key, "tax_amount")
    return Decimal(sale["tax_amount"]["decimal"])


async def test_what_the_deal_says_is_on_the_sale(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """Deal name, reference, date, line texts, free fields, customer and address arrive where people look."""
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
async def test_a_customers_tax_rule_decides(tryton: TrytonProcess, erp: TrytonAdapter, dies_as_draft: bool) -> None:  # noqa: FBT001
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
    """A party that people care for in Tryton keeps its name, and its address for invoices is used for them."""
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


async def test_what_tryton_refuses_is_told_in_its_words(erp: TrytonAdapter) -> None:
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
    assert "order.extra" in caught.value.cure


async def test_an_unknown_currency_is_named(erp: TrytonAdapter) -> None:
    """A currency that Tryton does not have is named."""
    with pytest.raises(RejectedError, match="no currency CHF"):
        await find_or_create(erp, new_order(currency="CHF"))


async def test_an_unknown_database_is_a_setting(tryton: TrytonProcess) -> None:
    """A wrong database in the address is told as such."""
    settings = tryton.settings
    erp = TrytonAdapter(settings.model_copy(update={"url": settings.url.replace("/erp", "/nothing")}))

    with pytest.raises(RejectedError) as caught:
        await find_or_create(erp, new_order())
    await erp.close()

    assert AttentionReason.CONFIGURATION is caught.value.reason
    assert "erps[tryton]" in caught.value.cure


async def test_a_product_that_is_not_for_sale_is_unknown(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """A product that exists but is not salable is named, before anything is created."""
    code, _ = await new_product(tryton, salable=False)
    order = new_order(((code, "1", "10.00"),))

    with pytest.raises(RejectedError, match=code) as caught:
        await find_or_create(erp, order)

    assert AttentionReason.UNKNOWN_PRODUCT is caught.value.reason
    assert not await tryton.rpc("model.party.party.search", [["code", "=", order.customer.id]], 0, None, None)


async def test_a_remembered_product_that_was_replaced_heals(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """When a remembered product is refused, it is looked up anew in the same attempt; no worker is restarted."""
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
    """What is remembered of a product is asked again after a minute, since a stale tax would never be refused."""
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
    """Without accounts the sale stays confirmed and Tryton opens an error of its own: the order exists all the same."""
    code, _ = await new_product(tryton, account_category=None)

    handoff = await find_or_create(erp, new_order(((code, "1", "10.00"),)))

    assert ErpStatus.CONFIRMED is handoff.order.status


async def test_a_confirmed_sale_is_cancelled_by_way_of_draft(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """As long as Tryton has not begun to process it, also a confirmed sale can be cancelled."""
    code, _ = await new_product(tryton, account_category=None)
    found = (await find_or_create(erp, new_order(((code, "1", "10.00"),)))).order
    assert ErpStatus.CONFIRMED is found.status

    assert ErpStatus.CANCELLED is (await erp.cancel(found, modified_at=None)).status


async def test_check_misses_the_rights(tryton: TrytonProcess) -> None:
    """A key whose user may not create sales is found out by `config check`, not by the first deal."""
    name = uuid.uuid4().hex
    values = {"name": name, "login": name, "companies": [["add", [1]]], "company": 1}
    (user,) = await tryton.rpc("model.res.user.create", [values])
    await tryton.rpc("model.res.user.application.create", [{"user": user, "application": "rest", "key": name}])
    erp = TrytonAdapter(tryton.settings.model_copy(update={"key": SecretStr(name)}))

    with pytest.raises(AuthFailedError, match=r"may not create .*sale\.sale") as caught:
        await erp.check()
    await erp.close()

    assert "group Sales" in caught.value.cure


async def test_a_listing_is_read_page_by_page(tryton: TrytonProcess) -> None:
    """Every sale of the org is listed once, by pages as small as they are set, a full last page included."""
    erp = TrytonAdapter(tryton.settings, page=2)
    org = new_org()
    orders = [new_order(org=org) for _ in range(4)]
    drafts = [await erp.create(order) for order in orders]

    listed = [order async for _, order in erp.orders_since(org, datetime.now(UTC) - timedelta(hours=1))]
    await erp.close()

    assert drafts == listed


async def test_a_customer_without_a_sale_is_an_orphan(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """A party that was made for an Account, and got no sale, is told; one with a sale, or of people's own, is not."""
    began = datetime.now(UTC)
    buyer, nobody = new_order(), new_order()
    await find_or_create(erp, buyer)
    own = {"name": "Own", "code": f"001-{uuid.uuid4().hex[:8]}"}
    await tryton.rpc("model.party.party.create", [own, {"name": "Nobody", "code": nobody.customer.id}])
    ended = datetime.now(UTC) + timedelta(seconds=1)

    assert [nobody.customer.id] == [account async for account in erp.orphans(began, ended)]
    assert nobody.customer.id not in [account async for account in erp.orphans(began - timedelta(hours=1), began)]


async def test_a_new_order_takes_six_calls(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """Tryton is slow: a known customer's order costs find, party, create, quote, confirm and find, nothing more."""
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


async def test_a_confirmed_sale_that_is_not_processed_yet_can_still_be_changed(tmp_path: Path) -> None:
    """Where Tryton leaves the processing to its queue, a confirmed sale is taken back to draft, changed, confirmed."""
    queued = TrytonProcess(tmp_path, TRYTOND_QUEUE__WORKER="True")
    await queued.start()
    erp = TrytonAdapter(queued.settings)
    order = new_order()
    confirmed = (await find_or_create(erp, order)).order
    changed = order.model_copy(update={"lines": new_order([("GC1040", "7", "5000.00")]).lines})

    amended = (await amend_to(erp, changed)).order
    (sale,) = await queued.sales(order.idempotency_key, "lines.taxes.id")
    await erp.close()
    await queued.stop()

    assert (ErpStatus.CONFIRMED, ErpStatus.CONFIRMED) == (confirmed.status, amended.status)
    assert (confirmed.number, Decimal(35000)) == (amended.number, amended.amount)
    assert [1] == [len(line["taxes"]) for line in sale["lines"]]


async def test_a_total_decides_where_a_price_cannot(erp: TrytonAdapter) -> None:
    """Discounted lines hold their signed totals in Tryton, though no price divides them; the deal agrees afterwards."""
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

    assert "round(…, 4)" in caught.value.cure
    assert not await tryton.rpc("model.party.party.search", [["code", "=", order.customer.id]], 0, None, None)


async def test_many_products_are_looked_up_in_short_requests(erp: TrytonAdapter) -> None:
    """Three hundred long codes never make an address that a server refuses; all that are missing are named."""
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


async def test_what_a_person_changes_makes_the_look_stale(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """Head, a line in the form, and a line by itself: after each of them no change based on the old look is made."""
    order = new_order(modified_at=datetime.now(UTC))
    found = await erp.create(order)
    await tryton.rpc("model.sale.sale.draft", [int(found.id)])
    (sale,) = await tryton.sales(order.idempotency_key, "lines.id")
    line = sale["lines"][0]["id"]
    changes: list[tuple[str, *tuple[Any, ...]]] = [
        ("model.sale.sale.write", [int(found.id)], {"comment": "by hand"}),
        ("model.sale.sale.write", [int(found.id)], {"lines": [["write", [line], {"quantity": 3}]]}),
        ("model.sale.line.write", [line], {"quantity": 4}),
        ("model.sale.line.delete", [line]),
    ]
    for change in changes:
        looked = await erp.find(order.idempotency_key)
        assert looked is not None
        await tryton.rpc(*change)
        now = await erp.find(order.idempotency_key)
        for write in (
            erp.amend(looked, order),
            erp.cancel(looked, modified_at=order.modified_at),
            erp.advance(looked),
            erp.claim(looked, order.idempotency_key, origin=Origin.RESOLVED, modified_at=None),
        ):
            with pytest.raises(StaleError):
                await write
        assert now == await erp.find(order.idempotency_key)


async def test_of_eight_callers_with_one_look_one_changes_the_sale(erp: TrytonAdapter) -> None:
    """Seven are refused, and the sale is what the eighth has written, wholly."""
    order = new_order()
    looked = await erp.create(order)
    wanted = [
        order.model_copy(update={"name": f"caller {n}", "lines": new_order([("GC1040", str(n), "1.00")]).lines})
        for n in range(1, 9)
    ]

    outcomes = await asyncio.gather(*(erp.amend(looked, each) for each in wanted), return_exceptions=True)

    (winner,) = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert 7 == sum(isinstance(outcome, StaleError) for outcome in outcomes)
    assert winner == await erp.find(order.idempotency_key)
    assert winner.amount == wanted[outcomes.index(winner)].amount


async def test_a_copy_of_a_sale_is_no_record_of_ours(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """Key, origin and time stay with the original, so that a person may duplicate a sale."""
    found = (await find_or_create(erp, new_order(modified_at=datetime.now(UTC)))).order

    (copy,) = await tryton.rpc("model.sale.sale.copy", [int(found.id)])

    fields = ["external_id", "external_origin", "external_modified_at"]
    (sale,) = await tryton.rpc("model.sale.sale.read", [copy], fields)
    assert [None] * 3 == [sale[name] or None for name in fields]


async def test_a_cancelled_sale_keeps_what_was_newest(erp: TrytonAdapter) -> None:
    """The time of the newest notification is stored with a cancellation, and later ones with the cancelled sale."""
    order = new_order(modified_at=datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC))
    cancelled = await erp.cancel(await erp.create(order), modified_at=datetime(2026, 1, 2, tzinfo=UTC))
    later = datetime(2026, 1, 3, 12, 0, 0, 654321, tzinfo=UTC)

    again = await erp.cancel(cancelled, modified_at=later)
    claimed = await erp.claim(again, order.idempotency_key, origin=Origin.CREATED, modified_at=None)

    assert (ErpStatus.CANCELLED, datetime(2026, 1, 2, tzinfo=UTC)) == (cancelled.status, cancelled.modified_at)
    assert claimed is not None
    assert (later, later) == (again.modified_at, claimed.modified_at)
