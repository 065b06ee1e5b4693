"""Adapter for any ERP behind a facade or an iPaaS that implements our small JSON contract.

`docs/erp-rest-contract.md` is the full contract, with examples. In short, below the configured address:

    GET  /orders?idempotency_key=KEY     200 {"orders": [ORDER]}, or an empty list
    GET  /orders?idempotency_key=K1&...  the same for up to 50 keys
    GET  /orders?number=NUMBER           200 {"number": NUMBER, "orders": [ORDER]}, or an empty list. Optional
    GET  /orders?org=ORG&since=TIME&limit=200[&after=NEXT]    a page of them, {"orders": [...], "next": NEXT or null}
    POST /orders                         201 ORDER; header `Idempotency-Key: KEY`; the body: `model.orders.Order`
    POST /orders/{id}/confirm            200 ORDER; confirming a confirmed order changes nothing
    POST /orders/{id}/cancel             200 ORDER; cancelling a cancelled order changes nothing; {"modified_at": TIME}
    PUT  /orders/{id}                    200 ORDER; the body as for POST: what the order must be. Optional
    POST /orders/{id}/claim              200 ORDER; header `Idempotency-Key: KEY`; {"origin", "modified_at"}. Optional

ORDER is `closedwon.model.erp.ErpOrder`. Money and quantities travel as strings.
Every call carries `Authorization: Bearer`.
A write to an order whose `version` is known carries `If-Match: "VERSION"`; 412 means that it has changed since.
Errors are problem details (RFC 9457) whose member `reason` is `duplicate` (409), `too-late` (409), `unknown-product`
(422, with `product`), or absent. 429 and 503 may carry `Retry-After`. Any other 5xx means that the outcome is unknown.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote as quote_path

from pydantic import ValidationError

from closedwon.erp.checking import only_one
from closedwon.erp.errors import (
    CannotAmendError,
    CannotLookUpError,
    DuplicateError,
    OthersOrderError,
    RejectedError,
    StaleError,
    TooLateError,
    TooLateToAmendError,
    UnusableAnswerError,
    WrongAnswerError,
)
from closedwon.erp.http import ORDERS_PER_PAGE, HttpClient, HttpReply, quote, value_batches
from closedwon.errors import AttentionReason
from closedwon.ids import OrgId, RecordId
from closedwon.model.erp import ErpOrder, Origin
from closedwon.model.orders import Order
from closedwon.network.trust import ClientCertificate
from closedwon.settings import RestErp

_UNKNOWN_PARAMETER: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
"""Statuses by which a facade says that it does not know a parameter of a call that it does offer."""
_CHECK_KEY: Final = "closedwon-check"
"""A key that no order has."""


class RestAdapter:
    """One ERP that implements the contract. A new order takes two calls if the ERP confirms at once, else four."""

    def __init__(self, settings: RestErp, *, page: int = ORDERS_PER_PAGE) -> None:
        """`page` is the maximum number of orders in a page of a listing. Connects at the first call."""
        self._page = page
        self.name = settings.name
        self.in_doubt_for = settings.in_doubt_for
        self._url = settings.url
        self._http = HttpClient(
            erp=settings.name,
            url=settings.url,
            token=settings.token,
            setting=f"erps[{settings.name}].token",
            timeout=settings.timeout,
            certificate=shown_by(settings),
        )

    @property
    def calls(self) -> int:
        """Requests sent to the ERP so far."""
        return self._http.calls

    async def find(self, idempotency_key: str) -> ErpOrder | None:
        """Look the order up by its idempotency key."""
        _, orders = await self._orders([("idempotency_key", idempotency_key)])
        return only_one(self.name, "the look-up by key", orders)

    async def find_by_number(self, number: str) -> ErpOrder | None:
        """Look the order up by its number; optional in the contract.

        A facade that ignores the parameter may answer with an empty list. That would mean "no such order" and lead to a
        second order. So an answer counts only if it repeats the number.
        """
        params = [("number", number)]
        reply = await self._optional(lambda: self._http.call("GET", "/orders", params=params))
        if reply.status in _UNKNOWN_PARAMETER or reply.is_not_offered:
            raise CannotLookUpError(f"{self.name}: the facade does not look orders up by number")
        body, orders = self._listing(reply)
        if body.get("number") != number:
            raise CannotLookUpError(f"{self.name}: the facade does not repeat the requested number")
        return only_one(self.name, "the look-up by number", orders)

    async def find_many(self, keys: Sequence[str]) -> dict[str, list[ErpOrder]]:
        """Look orders up by their idempotency keys."""
        found: dict[str, list[ErpOrder]] = {}
        for batch in value_batches(keys, _size_of_key):
            _, orders = await self._orders([("idempotency_key", key) for key in batch])
            for order in orders:
                found.setdefault(self._key(order), []).append(order)
        return found

    async def orders_since(self, org: OrgId, since: datetime) -> AsyncIterator[tuple[str, ErpOrder]]:
        """List every order of `org`'s records that was created or changed since then, with its idempotency key."""
        first = [("org", org), ("since", since.astimezone(UTC).isoformat()), ("limit", str(self._page))]
        after: str | None = None
        seen: set[str] = set()
        while True:
            body, orders = await self._orders([*first, *([("after", after)] if after else [])])
            for order in orders:
                yield self._key(order), order
            if body.get("next") is None:
                return
            after = str(body["next"])
            if after in seen:
                raise self._off_contract("the field next, which names a page that was read already")
            seen.add(after)

    async def orphans(self, since: datetime, until: datetime) -> AsyncIterator[RecordId]:  # noqa: ARG002 - the protocol's
        """List nothing: the facade creates its customers itself."""
        none: tuple[RecordId, ...] = ()
        for account in none:
            yield account

    async def create(self, order: Order) -> ErpOrder:
        """Create the order. Raises `DuplicateError` if another order has the key."""
        reply = await self._http.call(
            "POST",
            "/orders",
            body=order.model_dump(mode="json"),
            headers={"Idempotency-Key": order.idempotency_key},
        )
        if reply.status == HTTPStatus.CONFLICT:
            raise DuplicateError(f"{self.name}: the idempotency key is taken")
        return self._order(self._accept(reply))

    async def advance(self, found: ErpOrder) -> ErpOrder:
        """Confirm the order, unless it is confirmed or beyond."""
        if found.status.exists_as_order:
            return found
        return self._order(self._accept(await self._write("POST", found, "/confirm")))

    async def amend(self, found: ErpOrder, order: Order) -> ErpOrder:
        """Replace the content by that of `order`; optional in the contract."""
        body = order.model_dump(mode="json")
        reply = await self._optional(lambda: self._write("PUT", found, body=body, key=order.idempotency_key))
        if reply.is_not_offered:
            raise CannotAmendError(f"{self.name}: the facade cannot change order {found.number or found.id}")
        if reply.status == HTTPStatus.CONFLICT:
            raise TooLateToAmendError(f"{self.name}: order {found.number or found.id} can no longer be changed")
        return self._order(self._accept(reply))

    async def cancel(self, found: ErpOrder, *, modified_at: datetime | None) -> ErpOrder:
        """Cancel the order. Raises `TooLateError` on 409."""
        body = {"modified_at": modified_at.isoformat()} if modified_at else None
        reply = await self._write("POST", found, "/cancel", body=body)
        if reply.status == HTTPStatus.CONFLICT:
            raise TooLateError(f"{self.name}: order {found.number or found.id} can no longer be cancelled")
        return self._order(self._accept(reply))

    async def claim(
        self, found: ErpOrder, idempotency_key: str, *, origin: Origin, modified_at: datetime | None
    ) -> ErpOrder | None:
        """Store the key with an order; None if the facade does not offer it."""
        body = {"origin": origin, "modified_at": modified_at.isoformat() if modified_at else None}
        reply = await self._optional(lambda: self._write("POST", found, "/claim", body=body, key=idempotency_key))
        if reply.is_not_offered:
            return None
        if reply.status == HTTPStatus.CONFLICT:
            if reply.reason == "duplicate":
                raise DuplicateError(f"{self.name}: the idempotency key is taken")
            raise OthersOrderError(f"{self.name}: order {found.number or found.id} is another record's")
        return self._order(self._accept(reply))

    async def check(self) -> str:
        """Look up an order that cannot exist: this checks the address, the contract and the credential."""
        if await self.find(_CHECK_KEY) is not None:
            raise WrongAnswerError(self.name, "the look-up by key", "has an order for a key that no order has")
        return f"{self._url} follows the contract and accepts the token"

    async def close(self) -> None:
        """Release connections."""
        await self._http.close()

    async def _optional(self, call: Callable[[], Awaitable[HttpReply]]) -> HttpReply:
        """Make a call that a facade need not offer; believe that it does not only if it answers what it must offer.

        A facade that is deployed, or the proxy before it, answers 404 to everything. Raises what a look-up raises.
        """
        reply = await call()
        if not reply.is_not_offered:
            return reply
        await self._orders([("idempotency_key", _CHECK_KEY)])
        return await call()

    async def _write(
        self, method: str, found: ErpOrder, action: str = "", *, body: Any = None, key: str | None = None
    ) -> HttpReply:
        """Write to the order. Raises `StaleError` if it has changed since it was read."""
        headers = {
            **({"If-Match": f'"{found.version}"'} if found.version is not None else {}),
            **({"Idempotency-Key": key} if key is not None else {}),
        }
        path = f"/orders/{quote_path(found.id, safe='')}{action}"
        reply = await self._http.call(method, path, body=body, headers=headers)
        if reply.status == HTTPStatus.PRECONDITION_FAILED:
            raise StaleError(f"{self.name}: order {found.number or found.id} has changed since it was read")
        return reply

    def _accept(self, reply: HttpReply) -> Any:
        """Return the body of a success. Raises `RejectedError` otherwise."""
        if reply.ok:
            return reply.body
        problem = reply.body if isinstance(reply.body, dict) else {}
        if reply.reason == AttentionReason.UNKNOWN_PRODUCT:
            product = quote(problem.get("product"))
            raise RejectedError(
                f"{self.name}: the ERP has no product {product!r}",
                reason=AttentionReason.UNKNOWN_PRODUCT,
                hint=f"Create product {product!r} in the ERP or correct its code in Salesforce, then send `retry`.",
            )
        if reply.is_not_offered:
            raise RejectedError(
                f"{self.name}: an answer does not follow the contract in status {reply.status}",
                reason=AttentionReason.CONFIGURATION,
                hint=f"Check the url of erps[{self.name}], see docs/erp-rest-contract.md, then send `retry`.",
            )
        message = quote(problem.get("detail") or problem.get("title"))
        raise RejectedError(
            f"{self.name}: the ERP refuses with {reply.status}: {message or 'no reason given'}",
            is_explained=bool(message or reply.reason),
        )

    async def _orders(self, params: list[tuple[str, str]]) -> tuple[dict[str, Any], list[ErpOrder]]:
        return self._listing(await self._http.call("GET", "/orders", params=params))

    def _listing(self, reply: HttpReply) -> tuple[dict[str, Any], list[ErpOrder]]:
        """Return the body of the answer to a look-up, and the orders in it."""
        body = self._accept(reply)
        orders = body.get("orders") if isinstance(body, dict) else None
        if not isinstance(orders, list):
            raise self._off_contract("the field orders")
        return body, [self._order(order) for order in orders]

    def _key(self, order: ErpOrder) -> str:
        if order.idempotency_key is None:
            raise self._off_contract("the field idempotency_key")
        return order.idempotency_key

    def _order(self, body: Any) -> ErpOrder:
        known = {name: body[name] for name in ErpOrder.model_fields if name in body} if isinstance(body, dict) else {}
        try:
            return ErpOrder.model_validate(known)
        except ValidationError as error:
            fields = ", ".join(sorted({str(problem["loc"][0]) for problem in error.errors()}))
            raise self._off_contract(f"the field(s) {fields}") from None

    def _off_contract(self, what: str) -> UnusableAnswerError:
        return UnusableAnswerError(
            f"{self.name}: an answer does not follow the contract in {what}",
            reason=AttentionReason.CONFIGURATION,
            hint="Correct the facade, see docs/erp-rest-contract.md, then send `retry`.",
        )


def shown_by(settings: RestErp) -> ClientCertificate | None:
    """The certificate that we show to the ERP."""
    if settings.client_cert is None or settings.client_key is None:
        return None
    setting = f"`client_cert` and `client_key` of erps[{settings.name}]"
    return ClientCertificate(settings.client_cert, settings.client_key, setting)


def _size_of_key(key: str) -> int:
    return len(f"&idempotency_key={quote_path(key, safe='')}")
