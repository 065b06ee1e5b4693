"""Adapter for Tryton, series 8.0 and later, over its REST API with a user-application key.

Facts about the API are from `trytond/protocols/rest.py` and were seen on 8.2.1. What shapes this adapter:

- The API runs none of the desktop client's on-change logic: unit, addresses and taxes must be sent. A line that is
  sent without taxes is silently untaxed. Fields that are left out get the model's defaults for the company.
- `external_id`, unique per company, comes from the module in `deploy/tryton/`. Its refusal is a 400 whose text begins
  with a fixed word; other texts are translated for the user, so nothing else is decided by text.
- `quote` gives the number, `confirm` makes the order binding and queues or does the processing after its commit. Both
  are guarded by the state and refuse (400) in a wrong one, so a blind repeat does no harm.
- 500 is ambiguous: a fault of the server, or an unknown field in the request.

A new order of a known customer takes six calls: find, party, create, quote, confirm, find. Company, currency and
products are looked up once a minute.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from closedwon.erp.base import DuplicateError, RejectedError, TooLateError
from closedwon.erp.http import HttpClient, Reply, ServerFaultError, quote
from closedwon.errors import AttentionReason
from closedwon.model import Customer, ErpOrder, ErpStatus, Order, OrderLine
from closedwon.settings import TrytonErp

_DUPLICATE: Final = "SALE_EXTERNAL_ID_DUPLICATE"
_SHORTEST_TIMEOUT: Final = timedelta(seconds=60)
"""Confirming makes invoice and shipment in the same request; on a busy server that was seen to take 45 s."""
_CACHE_SECONDS: Final = 60
"""How long a changed price list, tax or unit may go unnoticed. A refusal empties the cache at once."""
_SALE_FIELDS: Final = ("state", "number", "untaxed_amount", "currency.code", "lines.type")
_PARTY_FIELDS: Final = (
    "addresses.invoice",
    "addresses.delivery",
    "customer_payment_term",
    "customer_tax_rule",
    "sale_invoice_method",
    "sale_shipment_method",
)
_PRODUCT_FIELDS: Final = ("code", "salable", "sale_uom", "account_category.customer_taxes_used")


class _Party(NamedTuple):
    """A customer as the sale needs it."""

    defaults: dict[str, Any]
    """Fields of the sale that the party decides: party, addresses, payment term, methods."""
    has_tax_rule: bool


class TrytonAdapter:
    """One Tryton database, seen with the rights of one user; see `Erp`."""

    def __init__(self, settings: TrytonErp, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Connect to nothing yet."""
        self.name = settings.name
        self._url = settings.url
        self._http = HttpClient(
            erp=settings.name,
            url=f"{settings.url}/rest/model",
            token=settings.key.get_secret_value(),
            setting=f"erps[{settings.name}].key",
            timeout=max(settings.timeout, _SHORTEST_TIMEOUT),
        )
        self._clock = clock
        self._cache: dict[tuple[str, str], Any] = {}
        self._cache_until = clock()

    async def find(self, idempotency_key: str) -> ErpOrder | None:
        """Look the order up by its external ID: one call."""
        try:
            sales = await self._search("sale.sale", [["external_id", "=", idempotency_key]], _SALE_FIELDS)
        except ServerFaultError:
            await self._require_module()  # an unknown field in a search is a 500
            raise
        return self._order(sales[0]) if sales else None

    async def create(self, order: Order) -> ErpOrder:
        """Create the order and quote it, which gives it its number. Raises `DuplicateError` when the key is taken.

        Customers that Tryton does not know are created, once, with the Account id as their code; afterwards they are
        Tryton's to keep. A country that Tryton does not know is left out.
        """
        was_cached = bool(self._look_ups())
        try:
            draft, party = await self._create_draft(order)
        except RejectedError:
            self._cache.clear()
            if not was_cached:
                raise
            draft, party = await self._create_draft(order)  # what we remembered may have changed
        try:
            if party.has_tax_rule:
                await self._apply_tax_rule(draft["id"])
            return self._order(await self._act(draft["id"], "quote"))
        except RejectedError:
            # The draft exists; whether this was its last word is found out by looking at it, and by `advance`.
            return self._order(draft)

    async def advance(self, found: ErpOrder) -> ErpOrder:
        """Quote a draft, confirm a quotation; the two calls refuse in a wrong state, so both are safe to repeat."""
        if found.status is ErpStatus.DRAFT:
            sale = self._accept(
                await self._http.call("GET", f"/sale.sale/{found.id}", params=_f("party.customer_tax_rule"))
            )
            if sale["party"]["customer_tax_rule"]:
                await self._apply_tax_rule(int(found.id))
            found = self._order(await self._act(found.id, "quote"))
        if found.status is ErpStatus.QUOTATION:
            found = self._order(await self._act(found.id, "confirm"))
        return found

    async def cancel(self, found: ErpOrder) -> ErpOrder:
        """Cancel the order, by way of draft where it is confirmed. Raises `TooLateError` once it is processed."""
        if found.status is ErpStatus.CANCELLED:
            return found
        try:
            if found.status is ErpStatus.CONFIRMED:
                await self._act(found.id, "draft")
            return self._order(await self._act(found.id, "cancel"))
        except RejectedError:
            now = self._order(
                self._accept(await self._http.call("GET", f"/sale.sale/{found.id}", params=_f(*_SALE_FIELDS)))
            )
        if now.status is ErpStatus.CANCELLED:
            return now
        raise TooLateError(f"{self.name}: sale {now.number or now.id} is {now.status.value} and cannot be cancelled")

    async def check(self) -> str:
        """Connect, and see that the user has a company and the module is there."""
        await self._require_module()
        company = await self._company()
        (found,) = await self._search("company.company", [["id", "=", company]], ("party.name", "currency.code"))
        return f"{self._url} accepts the key; company {found['party']['name']} in {found['currency']['code']}"

    async def close(self) -> None:
        """Release connections."""
        await self._http.close()

    # --- the sale -------------------------------------------------------------------------------------------------

    async def _create_draft(self, order: Order) -> tuple[dict[str, Any], _Party]:
        company = await self._company()
        party, currency, products, extra = await asyncio.gather(
            self._party(order.customer, company),
            self._currency(order.currency),
            self._products({line.product for line in order.lines}, company),
            self._extra(order.extra),
        )
        sale = (
            party.defaults
            | extra
            | {
                "company": company,
                "currency": currency,
                "external_id": order.idempotency_key,
                "description": order.name,
                "reference": order.reference,
                "sale_date": _date(order.order_date),
                "shipping_date": _date(order.delivery_date),
                "lines": [["create", [_line(line, products[line.product]) for line in order.lines]]],
            }
        )
        reply = await self._http.call(
            "POST", "/sale.sale", params=_f(*_SALE_FIELDS), body=sale, headers=_company_context(company)
        )
        if reply.status == HTTPStatus.BAD_REQUEST and _DUPLICATE in str(reply.body):
            raise DuplicateError(f"{self.name}: the external ID is taken")
        return self._accept(reply), party

    async def _act(self, sale_id: int | str, action: str) -> dict[str, Any]:
        reply = await self._http.call("POST", f"/sale.sale/{sale_id}/{action}", params=_f(*_SALE_FIELDS), body={})
        sale: dict[str, Any] = self._accept(reply)
        return sale

    async def _apply_tax_rule(self, sale_id: int) -> None:
        """Let Tryton compute the taxes that the customer's tax rule makes of the product's, and write them.

        Only Tryton can: modules add fields that rules match on. Its on-change runs on stored lines, hence afterwards.
        """
        lines = await self._search("sale.line", [["sale", "=", sale_id]], ("taxes",))
        changes = await asyncio.gather(*(self._taxes_by_rule(line) for line in lines))
        if writes := [change for change in changes if change]:
            reply = await self._http.call("PUT", f"/sale.sale/{sale_id}", params=_f("id"), body={"lines": writes})
            self._accept(reply)

    async def _taxes_by_rule(self, line: dict[str, Any]) -> list[Any] | None:
        reply = await self._http.call("POST", f"/sale.line/{line['id']}/on_change", body={"fieldnames": ["product"]})
        change = self._accept(reply).get("taxes")
        if not change:
            return None  # the rule leaves this line as it is
        removed = change.get("remove", [])
        added = [tax["id"] for _position, tax in change.get("add", [])]
        return ["write", [line["id"]], {"taxes": [["remove", removed], ["add", added]]}]

    def _order(self, sale: dict[str, Any]) -> ErpOrder:
        server, _, database = self._url.rpartition("/")
        return ErpOrder(
            id=str(sale["id"]),
            number=sale["number"],
            status=ErpStatus(sale["state"]),
            currency=sale["currency"]["code"],
            amount=Decimal(sale["untaxed_amount"]["decimal"]),
            line_count=sum(line["type"] == "line" for line in sale["lines"]),
            url=f"{server}/#{database}/model/sale.sale/{sale['id']}",  # the web client's address of a record
        )

    # --- what a sale refers to ------------------------------------------------------------------------------------

    def _look_ups(self) -> dict[tuple[str, str], Any]:
        """The cache, emptied when its time is over."""
        if self._clock() >= self._cache_until:
            self._cache.clear()
            self._cache_until = self._clock() + _CACHE_SECONDS
        return self._cache

    async def _company(self) -> int:
        cache = self._look_ups()
        if ("company", "") not in cache:
            reply = await self._http.call("POST", "/res.user/get_preferences", body={"context_only": True})
            cache["company", ""] = self._accept(reply).get("company")
        if not (company := cache["company", ""]):
            raise self._misconfigured("the key's user has no current company", "Give that user a company in Tryton")
        return int(company)

    async def _currency(self, code: str) -> int:
        cache = self._look_ups()
        if ("currency", code) not in cache:
            found = await self._search("currency.currency", [["code", "=", code]], ("id",))
            if not found:
                raise RejectedError(f"{self.name}: Tryton has no currency {code}")
            cache["currency", code] = found[0]["id"]
        return int(cache["currency", code])

    async def _products(self, codes: set[str], company: int) -> dict[str, dict[str, Any]]:
        cache = self._look_ups()
        if missing := sorted(code for code in codes if ("product", code) not in cache):
            found = await self._search("product.product", [["code", "in", missing]], _PRODUCT_FIELDS, company)
            cache.update({("product", product["code"]): product for product in found if product["salable"]})
        if unknown := sorted(code for code in codes if ("product", code) not in cache):
            raise RejectedError(
                f"{self.name}: Tryton has no product that can be sold with code {', '.join(unknown)}",
                reason=AttentionReason.UNKNOWN_PRODUCT,
                cure="Create that product in Tryton (salable) or correct its code in Salesforce, then send `retry`.",
            )
        return {code: cache["product", code] for code in codes}

    async def _party(self, customer: Customer, company: int) -> _Party:
        by_code = [["code", "=", customer.id]]  # unique among parties
        found = await self._search("party.party", by_code, _PARTY_FIELDS, company)
        if not found:
            address = {
                "street": customer.street,
                "city": customer.city,
                "postal_code": customer.postal_code,
                "country": await self._country(customer.country),
            }
            body = {"name": customer.name, "code": customer.id, "addresses": [["create", [address]]]}
            reply = await self._http.call(
                "POST", "/party.party", params=_f(*_PARTY_FIELDS), body=body, headers=_company_context(company)
            )
            if reply.status == HTTPStatus.BAD_REQUEST:  # perhaps made by a parallel order of the same customer
                found = await self._search("party.party", by_code, _PARTY_FIELDS, company)
            if not found:
                found = [self._accept(reply)]
        return await self._as_party(found[0])

    async def _as_party(self, party: dict[str, Any]) -> _Party:
        addresses = party["addresses"]
        if not addresses:
            body = {"party": party["id"]}
            addresses = [self._accept(await self._http.call("POST", "/party.address", body=body))]
        defaults = {
            "party": party["id"],
            "invoice_address": _first(addresses, "invoice"),
            "shipment_address": _first(addresses, "delivery"),
            "payment_term": party["customer_payment_term"],
            "invoice_method": party["sale_invoice_method"],
            "shipment_method": party["sale_shipment_method"],
        }
        return _Party({name: value for name, value in defaults.items() if value}, bool(party["customer_tax_rule"]))

    async def _country(self, code: str | None) -> int | None:
        found = await self._search("country.country", [["code", "=", code]], ("id",)) if code else []
        return int(found[0]["id"]) if found else None

    async def _extra(self, extra: dict[str, str]) -> dict[str, str]:
        """Fields that the route adds under their Tryton names. Checked, since an unknown one would be a bare 500."""
        cache = self._look_ups()
        if names := [name for name in extra if ("field", name) not in cache]:
            cache.update({("field", name): True for name in await self._sale_fields(names)})
        if unknown := sorted(name for name in extra if ("field", name) not in cache):
            cure = "Correct the route's `order.extra`"
            raise self._misconfigured(f"Tryton's sale has no field {', '.join(unknown)}", cure)
        return extra

    async def _require_module(self) -> None:
        if "external_id" not in await self._sale_fields(["external_id"]):
            cure = "Install the module of deploy/tryton/ in that database (its README says how)"
            raise self._misconfigured("Tryton's sale has no field external_id", cure)

    async def _sale_fields(self, names: list[str]) -> dict[str, Any]:
        """The definitions of those fields that exist."""
        reply = await self._http.call("POST", "/sale.sale/fields_get", body={"fields_names": names})
        fields: dict[str, Any] = self._accept(reply)
        return fields

    # --- calls ----------------------------------------------------------------------------------------------------

    async def _search(
        self, model: str, domain: list[Any], fields: tuple[str, ...], company: int | None = None
    ) -> list[dict[str, Any]]:
        params = [("d", _base64(domain)), *_f(*fields)]
        headers = _company_context(company) if company else None
        records: list[dict[str, Any]] = self._accept(
            await self._http.call("GET", f"/{model}", params=params, headers=headers)
        )
        return records

    def _accept(self, reply: Reply) -> Any:
        """The body of a good answer. Raises `RejectedError` with Tryton's words otherwise."""
        if reply.status == HTTPStatus.OK:
            return reply.body
        if reply.status == HTTPStatus.NOT_FOUND:
            cure = f"Check the database in the url of erps[{self.name}]"
            raise self._misconfigured("Tryton knows no such database or record", cure)
        if reply.status == HTTPStatus.NO_CONTENT:
            raise self._misconfigured("the key's user may write but not read", "Give that user the group Sales")
        words = reply.body if isinstance(reply.body, dict) else {}
        said = quote(f"{words.get('message', '')} {words.get('description', '')}") or f"status {reply.status}"
        raise RejectedError(f"{self.name}: Tryton refuses: {said}")

    def _misconfigured(self, what: str, cure: str) -> RejectedError:
        return RejectedError(
            f"{self.name}: {what}", reason=AttentionReason.CONFIGURATION, cure=f"{cure}, then send `retry`."
        )


def _f(*fields: str) -> list[tuple[str, str]]:
    """The fields that an answer shall contain."""
    return [("f", field) for field in fields]


def _base64(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def _company_context(company: int) -> dict[str, str]:
    """What a company decides (taxes, payment terms, defaults) needs the company in the context."""
    return {"X-Tryton-Context": _base64({"company": company})}


def _line(line: OrderLine, product: dict[str, Any]) -> dict[str, Any]:
    category = product["account_category"]
    return {
        "product": product["id"],
        "unit": product["sale_uom"],
        "quantity": _number(line.quantity),
        "unit_price": _number(line.unit_price),
        "taxes": [["add", category["customer_taxes_used"] if category else []]],
        **({"description": line.description} if line.description else {}),
    }


def _number(value: Decimal) -> str:
    """As text, without the trailing zeros that Tryton would count as too many digits; a JSON float is refused."""
    return format(value.normalize(), "f")


def _date(value: date | None) -> dict[str, Any] | None:
    return None if value is None else {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}


def _first(addresses: list[dict[str, Any]], use: str) -> int:
    """The first address for that use, else the first one, as Tryton's own `address_get` decides."""
    return int(next((address["id"] for address in addresses if address.get(use)), addresses[0]["id"]))
