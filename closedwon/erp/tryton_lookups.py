"""Find what a Tryton sale refers to: company, currency, products with their taxes, the customer.

The settings contain no Tryton ids; everything is looked up by code. Company, currency and products are cached for a
minute. A caller that gets a refusal while something was cached should `forget` and try again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from closedwon.erp.errors import RejectedError
from closedwon.erp.http import value_batches
from closedwon.erp.tryton_api import Record, TrytonApi, encoded_size
from closedwon.erp.tryton_values import Money, ProductFacts, price_decimals
from closedwon.errors import AttentionReason
from closedwon.model.orders import Customer

_REMEMBER_SECONDS: Final = 60
"""The maximum time for which a changed tax or unit goes unnoticed."""
_PRODUCT_FIELDS: Final = ("code", "salable", "sale_uom", "account_category.customer_taxes_used")
_PARTY_FIELDS: Final = (
    "addresses.invoice",
    "addresses.delivery",
    "customer_payment_term",
    "customer_tax_rule",
    "sale_invoice_method",
    "sale_shipment_method",
)


class Party(NamedTuple):
    """The values of a customer that a sale needs."""

    sale_fields: Record
    """Party, addresses and, if the party has its own, payment term and methods."""
    has_tax_rule: bool


class LookUps:
    """Looks records up and caches them for a minute. Raises `RejectedError` if one is missing."""

    def __init__(self, api: TrytonApi, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._memory: dict[tuple[str, str], Any] = {}
        self._until = clock()

    @property
    def remembers(self) -> bool:
        """Whether an answer may come from the cache."""
        return bool(self._remembered())

    def forget(self) -> None:
        """Empty the cache."""
        self._memory.clear()

    async def company(self) -> int:
        """Return the current company of the key's user."""
        memory = self._remembered()
        if ("company", "") not in memory:
            preferences = await self._api.ask("res.user/get_preferences", {"context_only": True})
            memory["company", ""] = preferences.get("company")
        if not (company := memory["company", ""]):
            raise self._api.misconfigured("the key's user has no current company", "Give that user one in Tryton")
        return int(company)

    async def money(self, code: str) -> Money:
        """Return how Tryton stores amounts and prices in the currency with this ISO code."""
        memory = self._remembered()
        if ("currency", code) not in memory:
            found = await self._api.search("currency.currency", [["code", "=", code]], ("rounding",))
            if not found:
                raise RejectedError(f"{self._api.name}: Tryton has no currency {code}")
            memory["currency", code] = found[0]
        currency = memory["currency", code]
        price = await self.fields("sale.line", ["unit_price"])
        return Money(
            int(currency["id"]), Decimal(currency["rounding"]["decimal"]), price_decimals(price.get("unit_price", {}))
        )

    async def products(self, codes: Iterable[str], company: int) -> dict[str, ProductFacts]:
        """Return the salable products with these codes, which are unique among active products."""
        memory, wanted = self._remembered(), sorted(set(codes))
        missing = [code for code in wanted if ("product", code) not in memory]
        for batch in value_batches(missing, encoded_size):
            found = await self._api.search("product.product", [["code", "in", batch]], _PRODUCT_FIELDS, company)
            memory.update({("product", each["code"]): _product(each) for each in found if each["salable"]})
        if unknown := [code for code in wanted if ("product", code) not in memory]:
            raise RejectedError(
                f"{self._api.name}: Tryton has no product that can be sold with code {', '.join(unknown)}",
                reason=AttentionReason.UNKNOWN_PRODUCT,
                hint="Create it in Tryton (salable, with this code) or correct the code in Salesforce, then `retry`.",
            )
        return {code: memory["product", code] for code in wanted}

    async def fields(self, model: str, names: Iterable[str]) -> dict[str, Record]:
        """Return the definitions of those fields that the model has. Others would cause a bare 500."""
        memory, wanted = self._remembered(), sorted(set(names))
        if missing := [name for name in wanted if (model, name) not in memory]:
            known = await self._api.ask(f"{model}/fields_get", {"fields_names": missing})
            memory.update({(model, name): definition for name, definition in known.items()})
        return {name: memory[model, name] for name in wanted if (model, name) in memory}

    async def party(self, customer: Customer, company: int) -> Party:
        """Return the party whose code is the customer's number or, without one, the Account id.

        A missing party with an Account id is created, and not changed afterwards. A missing party with a number is an
        error, because a number means that the customer exists. Parties are not cached, because people change addresses
        and payment terms. A new address omits an unknown country.
        """
        by_code = [["code", "=", customer.reference]]  # party.code is unique
        found = await self._api.search("party.party", by_code, _PARTY_FIELDS, company)
        if not found and customer.number is not None:
            raise RejectedError(
                f"{self._api.name}: Tryton has no active party whose code is the customer number of this record",
                hint="Correct the number in Salesforce (`order.customer.number` of the route says where it is), or "
                "give that code to the party in Tryton; then send `retry`.",
            )
        if not found:
            address = {
                "street": customer.street,
                "city": customer.city,
                "postal_code": customer.postal_code,
                "country": await self._country(customer.country),
            }
            values = {"name": customer.name, "code": customer.id, "addresses": [["create", [address]]]}
            reply = await self._api.try_create("party.party", values, _PARTY_FIELDS, company)
            if reply.status == HTTPStatus.BAD_REQUEST:  # perhaps made by a parallel order of the same customer
                found = await self._api.search("party.party", by_code, _PARTY_FIELDS, company)
            if not found:
                found = [self._api.accept(reply)]
        return await self._as_party(found[0])

    async def _as_party(self, party: Record) -> Party:
        # Tryton accepts a sale without addresses and refuses it only when it is quoted.
        addresses = party["addresses"] or [await self._api.create("party.address", {"party": party["id"]}, ("id",))]
        fields = {
            "party": party["id"],
            "invoice_address": _first(addresses, "invoice"),
            "shipment_address": _first(addresses, "delivery"),
            "payment_term": party["customer_payment_term"],
            "invoice_method": party["sale_invoice_method"],
            "shipment_method": party["sale_shipment_method"],
        }
        return Party({name: value for name, value in fields.items() if value}, bool(party["customer_tax_rule"]))

    async def _country(self, code: str | None) -> int | None:
        found = await self._api.search("country.country", [["code", "=", code]], ("id",)) if code else []
        return int(found[0]["id"]) if found else None

    def _remembered(self) -> dict[tuple[str, str], Any]:
        if self._clock() >= self._until:
            self._memory.clear()
            self._until = self._clock() + _REMEMBER_SECONDS
        return self._memory


def _product(record: Record) -> ProductFacts:
    """Return unit and taxes; the taxes as the desktop client proposes them, by the product's accounting category."""
    category = record["account_category"]
    return ProductFacts(record["id"], record["sale_uom"], category["customer_taxes_used"] if category else [])


def _first(addresses: list[Record], use: str) -> int:
    """Return the first address for that use, else the first one, as Tryton's own `address_get` does."""
    return int(next((address["id"] for address in addresses if address.get(use)), addresses[0]["id"]))
