"""A small client of a served org, for the command line, the demo and benchmarks: wins deals, seeds, arms faults.

It uses REST, like a salesperson's browser, and `/_admin` with the token of `connection.json`. Closedwon itself never
uses it: its own client is `closedwon.salesforce`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp

from closedwon.emulators.salesforce.api.calls import NEWEST
from closedwon.emulators.salesforce.connection import Connection
from closedwon.ids import OrgId, RecordId

_API = f"/services/data/v{NEWEST}.0"
_TIMEOUT = aiohttp.ClientTimeout(total=60)
_FIRST_FAILURE = 400
_COLLECTION = 200
"""Records per call."""


class OrgRefusedError(Exception):
    """The org refused the request. The message is the org's: an emulator has no customer data."""


class Deal(NamedTuple):
    """An Opportunity, with the fields that the command line shows."""

    id: RecordId
    name: str
    stage: str
    amount: float | None
    currency: str
    """Empty in an org with one currency."""


class OrgClient:
    """Calls one org. Create it with `open`."""

    def __init__(self, connection: Connection, http: aiohttp.ClientSession) -> None:
        """`http` has the org's URL as its base."""
        self._connection = connection
        self._http = http
        self._token: str | None = None
        self.org_id = OrgId(connection.org_id)

    @classmethod
    @asynccontextmanager
    async def open(cls, connection: Connection) -> AsyncIterator[OrgClient]:
        """A client for a block. Its methods raise `aiohttp.ClientConnectionError` if no org is served."""
        async with aiohttp.ClientSession(connection.url, timeout=_TIMEOUT) as http:
            yield cls(connection, http)

    async def open_deals(self, count: int) -> list[Deal]:
        """The `count` oldest open Opportunities."""
        where = f"IsClosed = false ORDER BY Id LIMIT {count}"
        return await self._deals(where)

    async def deal(self, record: RecordId) -> Deal:
        """One Opportunity. Raises `OrgRefusedError` if it does not exist."""
        found = await self._deals(f"Id = '{record}'")
        if not found:
            raise OrgRefusedError(f"this org has no Opportunity {record}")
        return found[0]

    async def win(self, record: RecordId) -> None:
        """Close an Opportunity as won."""
        await self._rest("PATCH", f"/sobjects/Opportunity/{record}", json={"StageName": "Closed Won"})

    async def unwin(self, record: RecordId) -> None:
        """Reopen a won Opportunity: set an earlier stage."""
        await self._rest("PATCH", f"/sobjects/Opportunity/{record}", json={"StageName": "Negotiation/Review"})

    async def change(self, record: RecordId, quantity: float | None = None, *, discount: float | None = None) -> None:
        """Change the quantity, or the discount in percent, of an Opportunity's first line item.

        The sales price stays, as on the page in the browser. Raises `OrgRefusedError` if there is no line item.
        """
        lines = await self.query(
            f"SELECT Id, UnitPrice FROM OpportunityLineItem WHERE OpportunityId = '{record}' ORDER BY Id LIMIT 1"  # noqa: S608 - SOQL
        )
        if not lines:
            raise OrgRefusedError(f"Opportunity {record} has no line items")
        wanted = {"UnitPrice": lines[0]["UnitPrice"], "Quantity": quantity, "Discount": discount}
        body = {name: value for name, value in wanted.items() if value is not None}
        await self._rest("PATCH", f"/sobjects/OpportunityLineItem/{lines[0]['Id']}", json=body)

    async def move(self, record: RecordId, account: RecordId) -> None:
        """Set another Account of an Opportunity."""
        await self._rest("PATCH", f"/sobjects/Opportunity/{record}", json={"AccountId": account})

    async def clone(self, record: RecordId, **changes: Any) -> RecordId:
        """Copy an Opportunity with its line items and every writable field. Return the id of the copy.

        Clone tools, flows, Apex and administrators do the same in a real org: the copy has the order number, status and
        key of its original. Only its stage is an open one. `changes` are fields with other values.
        """
        original = await self._rest("GET", f"/sobjects/Opportunity/{record}")
        fields = await self._copied("Opportunity")
        body = {name: original[name] for name in fields} | {"StageName": "Prospecting"} | changes
        clone = RecordId((await self._rest("POST", "/sobjects/Opportunity", json=body))["id"])
        # A new line accepts only one of the two prices.
        names = [name for name in await self._copied("OpportunityLineItem") if name != "TotalPrice"]
        found = await self.query(
            f"SELECT {', '.join(names)} FROM OpportunityLineItem WHERE OpportunityId = '{record}' ORDER BY Id"  # noqa: S608 - SOQL
        )
        lines = [one | {"OpportunityId": clone, "attributes": {"type": "OpportunityLineItem"}} for one in found]
        for start in range(0, len(lines), _COLLECTION):
            body = {"allOrNone": True, "records": lines[start : start + _COLLECTION]}
            for result in await self._rest("POST", "/composite/sobjects", json=body):
                if not result["success"]:
                    raise OrgRefusedError(f"{result['errors'][0]['statusCode']}: {result['errors'][0]['message']}")
        return clone

    async def undelete(self, record: RecordId) -> None:
        """Restore an Opportunity from the recycle bin."""
        await self.admin("POST", "undelete", {"object": "Opportunity", "record": record})

    async def delete(self, record: RecordId) -> None:
        """Move an Opportunity to the recycle bin."""
        await self._rest("DELETE", f"/sobjects/Opportunity/{record}")

    async def query(self, soql: str) -> list[dict[str, Any]]:
        """All records of a query, from all its pages."""
        page = await self._rest("GET", "/query", params={"q": soql})
        records: list[dict[str, Any]] = page["records"]
        while not page["done"]:
            page = await self._rest("GET", page["nextRecordsUrl"].removeprefix(_API))
            records += page["records"]
        return records

    async def admin(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """A call below `/_admin/`."""
        headers = {"Authorization": f"Bearer {self._connection.admin_token}"}
        async with self._http.request(method, f"/_admin/{path}", json=body or {}, headers=headers) as response:
            answer = await response.json()
            if response.status >= _FIRST_FAILURE:
                raise OrgRefusedError(answer["error"])
            return answer

    async def _copied(self, object_name: str) -> list[str]:
        described = await self._rest("GET", f"/sobjects/{object_name}/describe")
        return [one["name"] for one in described["fields"] if one["createable"]]

    async def _deals(self, where: str) -> list[Deal]:
        query = f"SELECT FIELDS(STANDARD) FROM Opportunity WHERE {where}"  # noqa: S608 - SOQL
        return [
            Deal(RecordId(one["Id"]), one["Name"], one["StageName"], one["Amount"], one.get("CurrencyIsoCode", ""))
            for one in await self.query(query)
        ]

    async def _rest(self, method: str, path: str, **arguments: Any) -> Any:
        headers = {"Authorization": f"Bearer {await self._login()}"}
        async with self._http.request(method, _API + path, headers=headers, **arguments) as response:
            answer = await response.json() if response.content_type == "application/json" else None
            if response.status >= _FIRST_FAILURE:
                raise OrgRefusedError(_message(answer))
            return answer

    async def _login(self) -> str:
        if self._token is None:
            form = {
                "grant_type": "client_credentials",
                "client_id": self._connection.sales_client_id,
                "client_secret": self._connection.sales_client_secret,
            }
            async with self._http.post("/services/oauth2/token", data=form) as response:
                answer = await response.json()
                if response.status >= _FIRST_FAILURE:
                    raise OrgRefusedError(_message(answer))
                self._token = str(answer["access_token"])
        return self._token


def _message(answer: Any) -> str:
    if isinstance(answer, list) and answer:
        return f"{answer[0].get('errorCode')}: {answer[0].get('message')}"
    return str(answer.get("error_description", answer)) if isinstance(answer, dict) else "the org refused"
