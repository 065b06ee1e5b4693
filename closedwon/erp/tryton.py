"""Adapter for Tryton, series 8.0 and later, over its REST API with a user-application key.

Facts that determine its design (seen on 8.2.1):

- The API runs none of the desktop client's on-change logic: unit, addresses and taxes must be sent. A line without
  taxes is stored untaxed, without an error.
- `external_id`, unique per company, and `external_change` come from the module in `deploy/tryton/`. `external_change`
  runs several steps in one transaction, and only on the version of the sale that was read. Every change of a sale uses
  it. The module's refusals are 400s whose text begins with a fixed token; no other decision depends on a text.
- `quote` assigns the number; `confirm` makes the order binding and, after its commit, queues or runs the processing.
  Both refuse in a wrong state, so repeating them is safe.

A new order of a known customer takes six calls: find, party, create, quote, confirm, find. `tryton_api` implements the
protocol, `tryton_lookups` finds the records that a sale refers to, `tryton_values` converts values.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from closedwon.erp import tryton_values as values
from closedwon.erp.checking import only_one
from closedwon.erp.errors import (
    DuplicateError,
    ErpAuthFailedError,
    OthersOrderError,
    RejectedError,
    StaleError,
    TooLateError,
    TooLateToAmendError,
)
from closedwon.erp.http import ORDERS_PER_PAGE, HttpClient, HttpReply, ServerFaultError, value_batches
from closedwon.erp.tryton_api import Record, TrytonApi, encoded_size
from closedwon.erp.tryton_lookups import LookUps, Party
from closedwon.erp.tryton_values import OWN_LINE_FIELDS, OWN_SALE_FIELDS, SALE_FIELDS
from closedwon.ids import KEY_PREFIXES, InvalidIdError, OrgId, RecordId
from closedwon.model.erp import ErpOrder, ErpStatus, Origin
from closedwon.model.orders import Order
from closedwon.settings import TrytonErp

_DUPLICATE: Final = "SALE_EXTERNAL_ID_DUPLICATE"
_STALE: Final = "SALE_EXTERNAL_VERSION_STALE"
_SHORTEST_TIMEOUT: Final = timedelta(seconds=60)
"""Confirming creates invoice and shipment in the same request, which can take 45 s on a busy server."""
_SALE: Final = "sale.sale"
_LINE: Final = "sale.line"
_MODULE_VERSION: Final = "8.2.1"
_MODULE_FIELDS: Final = frozenset({"external_id", "external_origin", "external_modified_at", "external_version"})
_INSTALL: Final = "Install the module of deploy/tryton/ in that database (its README says how)"
_UPDATE: Final = "Update the module of deploy/tryton/ in that database (its README says how)"
_PROCESSED: Final = frozenset({ErpStatus.PROCESSING, ErpStatus.DONE})
Step = str | Record
"""A step of `external_change`: a named action, or values to write."""


class TrytonAdapter:
    """One Tryton database, used with the rights of one user; see `Erp`."""

    def __init__(
        self, settings: TrytonErp, *, clock: Callable[[], float] = time.monotonic, page: int = ORDERS_PER_PAGE
    ) -> None:
        """`clock` counts the seconds for the cache of look-ups; tests set `page`. Connects at the first call."""
        self.name = settings.name
        self.in_doubt_for = settings.in_doubt_for
        self._url = settings.url
        self._api = TrytonApi(
            settings.name,
            HttpClient(
                erp=settings.name,
                url=settings.url,
                token=settings.key,
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
        return only_one(self.name, "the look-up by key", await self._orders([["external_id", "=", idempotency_key]]))

    async def find_by_number(self, number: str) -> ErpOrder | None:
        """Look the sale up by its number in the company of the key's user; numbers are not unique in Tryton."""
        domain = [["number", "=", number], ["company", "=", await self._look_ups.company()]]
        return only_one(self.name, "the look-up by number", await self._orders(domain))

    async def find_many(self, keys: Sequence[str]) -> dict[str, list[ErpOrder]]:
        """Look orders up by their external IDs."""
        found: dict[str, list[ErpOrder]] = {}
        for batch in value_batches(keys, encoded_size):
            for order in await self._orders([["external_id", "in", batch]]):
                found.setdefault(order.idempotency_key or "", []).append(order)
        return found

    async def orders_since(self, org: OrgId, since: datetime) -> AsyncIterator[tuple[str, ErpOrder]]:
        """List every sale of `org`'s records that was created or changed since then, sorted by Tryton's id."""
        since_then = values.moment(since)
        changed = ["OR", ["create_date", ">=", since_then], ["write_date", ">=", since_then]]
        last = 0
        while True:
            domain = [["id", ">", last], ["external_id", "like", f"{org}:%"], changed]
            orders = await self._orders(domain, page=self._page)
            for order in orders:
                yield order.idempotency_key or "", order
            if len(orders) < self._page:
                return
            last = int(orders[-1].id)

    async def orphans(self, since: datetime, until: datetime) -> AsyncIterator[RecordId]:
        """List the parties that were created in this period, have an Account's id as their code, and no sale."""
        last = 0
        while True:
            made = [["create_date", ">=", values.moment(since)], ["create_date", "<", values.moment(until)]]
            domain = [["id", ">", last], ["code", "like", f"{KEY_PREFIXES['Account']}%"], *made]
            parties = await self._api.search("party.party", domain, ("code",), page=self._page)
            buyers: set[int] = set()
            for batch in value_batches((str(party["id"]) for party in parties), encoded_size):
                of_these = [["party", "in", [int(each) for each in batch]]]
                buyers |= {sale["party"] for sale in await self._api.search(_SALE, of_these, ("party",))}
            for party in parties:
                if party["id"] not in buyers and (account := _record_id(party["code"])):
                    yield account
            if len(parties) < self._page:
                return
            last = int(parties[-1]["id"])

    async def create(self, order: Order) -> ErpOrder:
        """Create the order and quote it, which assigns the number. Raises `DuplicateError` if the key is taken."""
        from_memory = self._look_ups.remembers
        try:
            draft, party = await self._create_draft(order)
        except RejectedError:
            self._look_ups.forget()
            if not from_memory:
                raise
            draft, party = await self._create_draft(order)  # the refusal may be about a cached value
        try:
            taxes = await self._taxes_by_rule(draft.id) if party.has_tax_rule else []
            return await self._change(draft, [*taxes, "quote"])
        except (RejectedError, StaleError):
            # The draft exists, and a parallel caller may have quoted it: `advance` continues from there.
            return draft

    async def advance(self, found: ErpOrder) -> ErpOrder:
        """Quote a draft, confirm a quotation. Only the version that was read is made binding."""
        if found.status is ErpStatus.DRAFT:
            sale = await self._api.read(_SALE, found.id, ("party.customer_tax_rule",))
            taxes = await self._taxes_by_rule(found.id) if sale["party"]["customer_tax_rule"] else []
            found = await self._change(found, [*taxes, "quote"])
        if found.status is ErpStatus.QUOTATION:
            found = await self._change(found, ["confirm"])
        return found

    async def amend(self, found: ErpOrder, order: Order) -> ErpOrder:
        """Set the sale back to draft and replace its lines, in one transaction, unless it is processed already.

        Products and currency are looked up first, so an unknown product leaves the sale unchanged.
        """
        content = await self._sale_values(order)
        steps: list[Step] = ["delete_lines", content | _modified_at(order.modified_at)]
        try:
            return await self._change(found, steps if found.status is ErpStatus.DRAFT else ["draft", *steps])
        except RejectedError:
            now = await self._read(found)
            if now.status not in _PROCESSED:
                raise
        raise TooLateToAmendError(
            f"{self.name}: sale {now.number or now.id} is {now.status.value} and can no longer be changed"
        )

    async def cancel(self, found: ErpOrder, *, modified_at: datetime | None) -> ErpOrder:
        """Cancel the order, via draft if it is confirmed. Raises `TooLateError` if it is processed already."""
        changed = _modified_at(modified_at if modified_at != found.modified_at else None)
        steps: list[Step] = [changed] if changed else []
        if found.status is ErpStatus.CANCELLED:
            return await self._change(found, steps) if steps else found
        if found.status is ErpStatus.CONFIRMED:
            steps.append("draft")
        try:
            return await self._change(found, [*steps, "cancel"])
        except RejectedError:
            now = await self._read(found)
            if now.status not in _PROCESSED:
                raise
        raise TooLateError(f"{self.name}: sale {now.number or now.id} is {now.status.value} and cannot be cancelled")

    async def claim(
        self, found: ErpOrder, idempotency_key: str, *, origin: Origin, modified_at: datetime | None
    ) -> ErpOrder | None:
        """Store the key as the external ID of the sale, with the origin and the time."""
        if found.idempotency_key not in {None, idempotency_key}:
            raise OthersOrderError(f"{self.name}: sale {found.number or found.id} is another record's")
        stored = {"external_id": idempotency_key, "external_origin": origin.value} | _modified_at(modified_at)
        return await self._change(found, [stored])

    async def check(self) -> str:
        """Connect, and check that the module is installed and that the user has the rights and a company."""
        await self._require_module()
        access = await self._api.ask("ir.model.access/get_access", {"models": [_SALE, "party.party"]})
        if lacking := sorted(model for model, rights in access.items() if not (rights["read"] and rights["create"])):
            hint = "In Tryton, give the key's user the group Sales."
            raise ErpAuthFailedError(f"{self.name}: the key's user may not create {', '.join(lacking)}", hint=hint)
        company = await self._look_ups.company()
        (found,) = await self._api.search("company.company", [["id", "=", company]], ("party.name", "currency.code"))
        return f"{self._url} accepts the key; company {found['party']['name']!r}, {found['currency']['code']}"

    async def close(self) -> None:
        """Release connections."""
        await self._api.close()

    async def _orders(self, domain: list[Any], page: int | None = None) -> list[ErpOrder]:
        try:
            sales = await self._api.search(_SALE, domain, SALE_FIELDS, page=page)
        except ServerFaultError:
            await self._require_module()
            raise
        return [values.order(sale, self._url) for sale in sales]

    async def _read(self, found: ErpOrder) -> ErpOrder:
        return values.order(await self._api.read(_SALE, found.id, SALE_FIELDS), self._url)

    async def _change(self, found: ErpOrder, steps: Sequence[Step]) -> ErpOrder:
        """Run the steps in one transaction, only on the version of the sale that was read."""
        arguments = {"version": found.version, "steps": list(steps)}
        reply = await self._api.try_act(_SALE, found.id, "external_change", arguments, SALE_FIELDS)
        if _refuses(reply, _STALE) or reply.status == HTTPStatus.NOT_FOUND:  # it was deleted
            raise StaleError(f"{self.name}: sale {found.number or found.id} has changed since it was read")
        return values.order(self._accept(reply), self._url)

    def _accept(self, reply: HttpReply) -> Record:
        if _refuses(reply, _DUPLICATE):
            raise DuplicateError(f"{self.name}: the external ID is taken")
        record: Record = self._api.accept(reply)
        return record

    async def _require_module(self) -> None:
        """Raise unless Tryton has our module in a sufficient version and the database was updated for it."""
        known = await self._look_ups.fields(_SALE, _MODULE_FIELDS)
        if lacking := sorted(_MODULE_FIELDS - known.keys()):
            is_absent = len(lacking) == len(_MODULE_FIELDS)
            raise self._api.misconfigured(
                f"Tryton {'lacks' if is_absent else 'has an old version of'} the module sale_external_id "
                f"({_MODULE_VERSION} or later is needed): a sale has no field {', '.join(lacking)}",
                _INSTALL if is_absent else _UPDATE,
            )
        domain = [["model", "=", _SALE], ["name", "in", sorted(_MODULE_FIELDS)]]
        in_database = {field["name"] for field in await self._api.search("ir.model.field", domain, ("name",))}
        if lacking := sorted(_MODULE_FIELDS - in_database):
            raise self._api.misconfigured(
                f"Tryton's database was not updated for version {_MODULE_VERSION} of the module sale_external_id: it "
                f"has no field {', '.join(lacking)} of a sale",
                _UPDATE,
            )

    async def _create_draft(self, order: Order) -> tuple[ErpOrder, Party]:
        company = await self._look_ups.company()
        content = await self._sale_values(order)
        party = await self._look_ups.party(order.customer, company)  # last, since it may create a party
        own = {"company": company, "external_id": order.idempotency_key, "external_origin": Origin.CREATED.value}
        sale = party.sale_fields | content | own | _modified_at(order.modified_at)
        try:
            reply = await self._api.try_create(_SALE, sale, SALE_FIELDS, company)
        except ServerFaultError:
            await self._require_module()
            raise
        return values.order(self._accept(reply), self._url), party

    async def _sale_values(self, order: Order) -> Record:
        """Return the values of a sale that come from the order: all but company, key and customer."""
        look_ups = self._look_ups
        money = await look_ups.money(order.currency)
        products = await look_ups.products([line.product for line in order.lines], await look_ups.company())
        header = await look_ups.fields(_SALE, order.extra)
        of_lines = await look_ups.fields(_LINE, {name for line in order.lines for name in line.extra})
        lines = [
            values.line(
                line,
                products[line.product],
                money,
                values.free_fields(line.extra, of_lines, OWN_LINE_FIELDS, "order.lines.extra"),
            )
            for line in order.lines
        ]
        return values.free_fields(order.extra, header, OWN_SALE_FIELDS, "order.extra") | {
            "currency": money.currency,
            "description": order.name,
            "reference": order.reference,
            "sale_date": values.day(order.order_date),
            "shipping_date": values.day(order.delivery_date),
            "lines": [["create", lines]],
        }

    async def _taxes_by_rule(self, sale_id: str) -> list[Step]:
        """Return the step that writes the taxes of the customer's tax rule; nothing if the rule changes none.

        Only Tryton can compute them, because modules add fields that a rule matches on. Its on-change works on stored
        lines, so this runs after the creation, and again before a found draft is quoted.
        """
        lines = await self._api.search(_LINE, [["sale", "=", int(sale_id)], ["type", "=", "line"]], ("id",))
        changes = [await self._line_taxes(line["id"]) for line in lines]
        writes = [change for change in changes if change]
        return [{"lines": writes}] if writes else []

    async def _line_taxes(self, line_id: int) -> list[Any] | None:
        changed = await self._api.ask(f"{_LINE}/{line_id}/on_change", {"fieldnames": ["product"]})
        taxes = changed.get("taxes")
        if not taxes:
            return None  # the rule does not change this line
        removed = taxes.get("remove", [])
        added = [tax["id"] for _position, tax in taxes.get("add", [])]
        return ["write", [line_id], {"taxes": [["remove", removed], ["add", added]]}]


def _refuses(reply: HttpReply, token: str) -> bool:
    message = reply.body.get("message") if isinstance(reply.body, dict) else None
    return reply.status == HTTPStatus.BAD_REQUEST and str(message).startswith(token)


def _modified_at(value: datetime | None) -> Record:
    """Return the values that store the time; an unknown time does not replace a known one."""
    return {} if value is None else {"external_modified_at": values.moment(value)}


def _record_id(code: str) -> RecordId | None:
    try:
        return RecordId(code)
    except InvalidIdError:
        return None
