"""A REST API of Salesforce with scripted errors, and a client of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from closedwon.ids import RecordId
from closedwon.salesforce.api.auth import TokenSource
from closedwon.salesforce.api.rest import SalesforceClient
from tests.support.salesforce import Handler, Logins, org_at, serving

DATA = "/services/data/v67.0"
SELECT = "Name, (SELECT Id FROM OpportunityLineItems)"


def record_ids(count: int) -> list[RecordId]:
    """Different ids of Opportunities."""
    return [RecordId(f"006{number:012d}") for number in range(1, count + 1)]


class Rest:
    """Returns a record for every id. `queries` and `collections` get requests first and may answer them."""

    def __init__(
        self,
        *,
        on_query: Callable[[str], web.Response | None] = lambda _: None,
        on_collection: Callable[[list[dict[str, Any]]], web.Response | None] = lambda _: None,
    ) -> None:
        self.logins = Logins()
        self.soql: list[str] = []
        self.collections: list[list[dict[str, Any]]] = []
        self.tokens: list[str] = []
        self._on_query = on_query
        self._on_collection = on_collection

    @property
    def handlers(self) -> dict[str, Handler]:
        """For `serving`."""
        return {
            f"GET {DATA}/query/": self.query,
            f"PATCH {DATA}/composite/sobjects": self.collection,
            **self.logins.handlers,
        }

    @asynccontextmanager
    async def client(self) -> AsyncIterator[SalesforceClient]:
        """A client of this server."""
        async with serving(self.handlers) as url:
            org = org_at(url)
            client = SalesforceClient(org, TokenSource(org))
            try:
                yield client
            finally:
                await client.close()

    async def query(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers["Authorization"].removeprefix("Bearer "))
        self.soql.append(request.query["q"])
        found = [
            {"attributes": {"type": "Opportunity"}, "Id": record_id, "Name": f"Deal {record_id}", "Amount": 0.1}
            for record_id in re.findall(r"'(\w{18})'", request.query["q"])
        ]
        usual = web.json_response(
            {"totalSize": len(found), "done": True, "records": found},
            headers={"Sforce-Limit-Info": "api-usage=18/5000; per-app-api-usage=17/250(appName=ours)"},
        )
        return self._on_query(request.query["q"]) or usual

    async def collection(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert body["allOrNone"] is False
        self.collections.append(body["records"])
        results = [{"id": record["id"], "success": True, "errors": []} for record in body["records"]]
        return self._on_collection(body["records"]) or web.json_response(results)


def refused(status: int, code: str, message: str = "") -> web.Response:
    """An error in the form of the REST API."""
    return web.json_response([{"errorCode": code, "message": message}], status=status)


def first_time(answer: Callable[[], web.Response]) -> Callable[[Any], web.Response | None]:
    """Answer the first request only."""
    left = [answer]
    return lambda _: left.pop()() if left else None
