"""Adapter for Tryton, series 8.0 and later, over its REST API with a user-application key.

What shapes it (seen on 8.2.1):

- The API runs none of the desktop client's on-change logic: unit, addresses and taxes must be sent. A line that is
  sent without taxes is silently untaxed.
- `external_id`, unique per company, comes from the module in `deploy/tryton/`. Its refusal is a 400 whose text begins
  with a fixed word; nothing else is decided by text.
- `quote` gives the number; `confirm` makes the order binding and, after its commit, queues or does the processing.
  Both refuse in a wrong state, so a blind repeat does no harm.

A new order of a known customer takes six calls: find, party, create, quote, confirm, find. `tryton_api` speaks the
protocol, `tryton_lookups` finds what a sale refers to.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final

from closedwon.erp.base import (
    AuthFailedError,
    DuplicateError,
    OthersOrderError,
    RejectedError,
    TooLateError,
    TooLateToAmendError,
    only_one,
)
from closedwon.erp.http import ORDERS_PER_PAGE, HttpClient, Reply, ServerFaultError, key_batches
from closedwon.erp.tryton_api import Record, TrytonApi
from closedwon.erp.tryton_lookups import LookUps, Party, Product
from closedwon.ids import KEY_PREFIXES, InvalidIdError, OrgId, RecordId
from closedwon.model import ErpLine, ErpOrder, ErpStatus, Order, OrderLine, Origin
from closedwon.settings import TrytonErp

_DUPLICATE: Final = "SALE_EXTERNAL_ID_DUPLICATE"
_SHORTEST_TIMEOUT: Final = timedelta(seconds=60)
"""Confirming makes invoice and shipment in the same request; on a busy server that was seen to take 45 s."""
_SALE: Final = "sale.sale"
_FIELDS: Final = (
    "external_id",
    "state",
    "number",
    "untaxed_amount",
    "currency.code",
    "lines.type",
    "lines.product.code",
    "lines.quantity",
    "lines.unit_price",
)
_INSTALL: Final = "Install the module of deploy/tryton/ in that database (its README says how)"
_CORRECT: Final = "Correct `order.extra` of the route"


class TrytonAdapter:
    """One Tryton database, seen with the rights of one user; see `Erp`."""

    def __init__(
        self, settings: TrytonErp, *, clock: Callable[[], float] = time.monotonic, page: int = ORDERS_PER_PAGE
    ) -> None:
        """Connect to nothing yet. `clock` counts the seconds that look-ups are remembered; `page` is for tests."""
        self.name = settings.name
        self.settle = settings.settle
        self._url = settings.url
        self._api = TrytonApi(
            settings.name,
            HttpClient(
                erp=settings.name,
                url=settings.url,
                token=settings.key.get_secret_value(),
                setting=f"erps[{settings.name}].key",
                timeout=max(settings.timeout, _SHORTEST_TIMEOUT),
            ),
        )
        self._look_ups = LookUps(self._api, clock=clock)
        self._page = page

    @property
    def calls(self) -> int:
        """Requests sent to the ERP so far."""
        return self._api.calls

    async def find(self, idempotency_key: str) -> ErpOrder | None:
        """Look the order up by its external ID: one call."""
        sales = await self._sales([["external_id", "=", idempotency_key]], _FIELDS)
        return only_one(self.name, "the look-up by key", [self._order(sale) for sale in sales])

    async def find_by_number(self, number: str) -> ErpOrder | None:
        """Look the order up by its number."""
        sales = await self._sales([["number", "=", number]], _FIELDS)
        return only_one(self.name, "the look-up by number", [self._order(sale) for sale in sales])

    async def find_many(self, keys: Sequence[str]) -> dict[str, list[ErpOrder]]:
        """Look orders up by their external IDs."""
        found: dict[str, list[ErpOrder]] = {}
        for batch in key_batches(keys):
            for sale in await self._sales([["external_id", "in", batch]], _FIELDS):
                found.setdefault(sale["external_id"], []).append(self._order(sale))
        return found

    async def orders_since(self, org: OrgId, since: datetime) -> AsyncIterator[tuple[str, ErpOrder]]:
        """List every sale of `org`'s records that was made or changed since then, by Tryton's own id."""
        moment = _datetime(since)
        changed = ["OR", ["create_date", ">=", moment], ["write_date", ">=", moment]]
        last = 0
        while True:
            domain = [["id", ">", last], ["external_id", "like", f"{org}:%"], changed]
            sales = await self._sales(domain, _FIELDS, page=self._page)
            for sale in sales:
                yield sale["external_id"], self._order(sale)
            if len(sales) < self._page:
                return
            last = sales[-1]["id"]

    async def orphans(self, since: datetime, until: datetime) -> AsyncIterator[RecordId]:
        """List the parties that were made in this time, have an Account's id as their code, and no sale at all."""
        last = 0
        while True:
            made = [["create_date", ">=", _datetime(since)], ["create_date", "<", _datetime(until)]]
            domain = [["id", ">", last], ["code", "like", f"{KEY_PREFIXES['Account']}%"], *made]
            parties = await self._api.search("party.party", domain, ("code",), page=self._page)
            ids = [party["id"] for party in parties]
            sales = await self._api.search(_SALE, [["party", "in", ids]], ("party",)) if ids else []
            buyers = {sale["party"] for sale in sales}
            for party in parties:
                if party["id"] not in buyers and (account := _record_id(party["code"])):
                    yield account
            if len(parties) < self._page:
                return
            last = ids[-1]

    async def create(self, order: Order) -> ErpOrder:
        """Create the order and quote it, which gives it its number. Raises `DuplicateError` when the key is taken."""
        from_memory = self._look_ups.remembers
        try:
            draft, party = await self._create_draft(order)
        except RejectedError:
            self._look_ups.forget()
            if not from_memory:
                raise
            draft, party = await self._create_draft(order)  # what was remembered may be what was refused
        try:
            if party.has_tax_rule:
                await self._apply_tax_rule(draft["id"])
            return self._order(await self._api.act(_SALE, draft["id"], "quote", _FIELDS))
        except RejectedError:
            # The draft is there all the same, and perhaps a parallel caller has quoted it: `advance` will find out.
            return self._order(draft)

    async def advance(self, found: ErpOrder) -> ErpOrder:
        """Quote a draft, confirm a quotation."""
        if found.status is ErpStatus.DRAFT:
            sale = await self._api.read(_SALE, found.id, ("party.customer_tax_rule",))
            if sale["party"]["customer_tax_rule"]:
                await self._apply_tax_rule(int(found.id))
            found = self._order(await self._api.act(_SALE, found.id, "quote", _FIELDS))
        if found.status is ErpStatus.QUOTATION:
            found = self._order(await self._api.act(_SALE, found.id, "confirm", _FIELDS))
        return found

    async def amend(self, found: ErpOrder, order: Order) -> ErpOrder:
        """Take the sale back to draft and give it other lines; until it is processed Tryton allows that.

        One write changes everything, and Tryton refuses it unless the sale is a draft: whoever confirms it meanwhile
        wins. What the order refers to is looked up first, so that an unknown product leaves the sale as it is.
        """
        values = await self._sale_values(order)
        try:
            if found.status is not ErpStatus.DRAFT:
                await self._api.act(_SALE, found.id, "draft", _FIELDS)
            lines = await self._api.search("sale.line", [["sale", "=", int(found.id)]], ("id",))
            values["lines"].insert(0, ["delete", [line["id"] for line in lines]])
            await self._api.change(_SALE, found.id, values)
        except RejectedError:
            now = self._order(await self._api.read(_SALE, found.id, _FIELDS))
            if not now.status.exists_as_order:
                raise
            raise TooLateToAmendError(
                f"{self.name}: sale {now.number or now.id} is {now.status.value} and can no longer be changed"
            ) from None
        return self._order(await self._api.read(_SALE, found.id, _FIELDS))

    async def cancel(self, found: ErpOrder, *, modified_at: datetime | None) -> ErpOrder:  # noqa: ARG002 - not kept yet
        """Cancel the order, by way of draft where it is confirmed. Raises `TooLateError` once it is processed."""
        if found.status is ErpStatus.CANCELLED:
            return found
        try:
            if found.status is ErpStatus.CONFIRMED:
                await self._api.act(_SALE, found.id, "draft", _FIELDS)
            return self._order(await self._api.act(_SALE, found.id, "cancel", _FIELDS))
        except RejectedError:
            now = self._order(await self._api.read(_SALE, found.id, _FIELDS))
        if now.status is ErpStatus.CANCELLED:
            return now
        raise TooLateError(f"{self.name}: sale {now.number or now.id} is {now.status.value} and cannot be cancelled")

    async def claim(
        self,
        found: ErpOrder,
        idempotency_key: str,
        *,
        origin: Origin,  # noqa: ARG002 - not kept yet
        modified_at: datetime | None,  # noqa: ARG002 - not kept yet
    ) -> ErpOrder | None:
        """Make the key the external ID of the sale."""
        if found.idempotency_key not in {None, idempotency_key}:
            raise OthersOrderError(f"{self.name}: sale {found.number or found.id} is another record's")
        if found.idempotency_key is None:
            reply = await self._api.try_change(_SALE, found.id, {"external_id": idempotency_key})
            if _is_duplicate(reply):
                raise DuplicateError(f"{self.name}: the external ID is taken")
            self._api.accept(reply)
        return self._order(await self._api.read(_SALE, found.id, _FIELDS))

    async def check(self) -> str:
        """Connect, and see that the module is there and that the user has the rights and a company."""
        await self._look_ups.require_sale_fields(["external_id"], _INSTALL)
        access = await self._api.ask("ir.model.access/get_access", {"models": [_SALE, "party.party"]})
        if lacking := sorted(model for model, rights in access.items() if not (rights["read"] and rights["create"])):
            cure = "In Tryton, give the key's user the group Sales."
            raise AuthFailedError(f"{self.name}: the key's user may not create {', '.join(lacking)}", cure=cure)
        company = await self._look_ups.company()
        (found,) = await self._api.search("company.company", [["id", "=", company]], ("party.name", "currency.code"))
        return f"{self._url} accepts the key; company {found['party']['name']!r}, {found['currency']['code']}"

    async def close(self) -> None:
        """Release connections."""
        await self._api.close()

    async def _sales(self, domain: list[Any], fields: tuple[str, ...], page: int | None = None) -> list[Record]:
        try:
            return await self._api.search(_SALE, domain, fields, page=page)
        except ServerFaultError:
            await self._look_ups.require_sale_fields(["external_id"], _INSTALL)
            raise

    async def _create_draft(self, order: Order) -> tuple[Record, Party]:
        company = await self._look_ups.company()
        values = await self._sale_values(order)
        party = await self._look_ups.party(order.customer, company)  # last: it may create, and the others may refuse
        sale = party.sale_fields | values | {"company": company, "external_id": order.idempotency_key}
        reply = await self._api.try_create(_SALE, sale, _FIELDS, company)
        if _is_duplicate(reply):
            raise DuplicateError(f"{self.name}: the external ID is taken")
        return self._api.accept(reply), party

    async def _sale_values(self, order: Order) -> Record:
        """What the order itself tells of a sale: all but company, key and customer."""
        look_ups = self._look_ups
        currency = await look_ups.currency(order.currency)
        products = await look_ups.products([line.product for line in order.lines], await look_ups.company())
        await look_ups.require_sale_fields(order.extra, _CORRECT)
        return order.extra | {
            "currency": currency,
            "description": order.name,
            "reference": order.reference,
            "sale_date": _date(order.order_date),
            "shipping_date": _date(order.delivery_date),
            "lines": [["create", [_line(line, products[line.product]) for line in order.lines]]],
        }

    async def _apply_tax_rule(self, sale_id: int) -> None:
        """Let Tryton compute what the customer's tax rule makes of the products' taxes, and write that.

        Only Tryton can: modules add fields that a rule matches on. Its on-change works on stored lines, so this comes
        after the creation and again before a found draft is quoted.
        """
        lines = await self._api.search("sale.line", [["sale", "=", sale_id], ["type", "=", "line"]], ("id",))
        changes = [await self._taxes_by_rule(line["id"]) for line in lines]
        if writes := [change for change in changes if change]:
            await self._api.change(_SALE, sale_id, {"lines": writes})

    async def _taxes_by_rule(self, line_id: int) -> list[Any] | None:
        changed = await self._api.ask(f"sale.line/{line_id}/on_change", {"fieldnames": ["product"]})
        taxes = changed.get("taxes")
        if not taxes:
            return None  # the rule leaves this line as it is
        removed = taxes.get("remove", [])
        added = [tax["id"] for _position, tax in taxes.get("add", [])]
        return ["write", [line_id], {"taxes": [["remove", removed], ["add", added]]}]

    def _order(self, sale: Record) -> ErpOrder:
        server, _, database = self._url.rpartition("/")
        lines = [line for line in sale["lines"] if line["type"] == "line"]
        return ErpOrder(
            id=str(sale["id"]),
            idempotency_key=sale["external_id"] or None,
            number=sale["number"],
            status=ErpStatus(sale["state"]),
            currency=sale["currency"]["code"],
            amount=Decimal(sale["untaxed_amount"]["decimal"]),
            line_count=len(lines),
            lines=tuple(
                ErpLine(
                    product=(line["product"] or {}).get("code"),
                    quantity=Decimal(str(line["quantity"])),
                    unit_price=Decimal(line["unit_price"]["decimal"]),
                )
                for line in lines
            ),
            url=f"{server}/#{database}/model/sale.sale/{sale['id']}",  # the web client's address of a record
        )


def _is_duplicate(reply: Reply) -> bool:
    return reply.status == HTTPStatus.BAD_REQUEST and _DUPLICATE in str(reply.body)


def _line(line: OrderLine, product: Product) -> Record:
    return {
        "product": product.id,
        "unit": product.unit,
        "quantity": _number(line.quantity),
        "unit_price": _number(line.unit_price),
        "taxes": [["add", product.taxes]],
        "description": line.description,
    }


def _number(value: Decimal) -> str:
    """As text, without the trailing zeros that Tryton would count as too many digits; an inexact float is refused."""
    return format(value.normalize(), "f")


def _date(value: date | None) -> Record | None:
    return None if value is None else {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}


def _record_id(code: str) -> RecordId | None:
    try:
        return RecordId(code)
    except InvalidIdError:
        return None


def _datetime(value: datetime) -> Record:
    """As Tryton keeps its own times: UTC, without a zone."""
    utc = value.astimezone(UTC)
    parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    return {"__class__": "datetime"} | {part: getattr(utc, part) for part in parts}
