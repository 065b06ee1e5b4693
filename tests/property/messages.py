"""How notifications about a deal reach intake: outbound messages, tombstones and signed callouts, true and forged."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from closedwon.ids import RecordId
from tests.property.routes import RouteOfTheWorld
from tests.property.world import Talk
from tests.support.outbound import message, notification

_FORTUNE = {"Quantity__c": 1, "Price__c": 999_999, "Amount": 999_999}
_FORGED = {"IsWon": True, "SystemModstamp": "2099-01-01T00:00:00.000Z", **_FORTUNE}
_AGAIN = 0.3
"""Seconds until a message is sent again that was not taken; Salesforce is more patient."""
_SOAP = {"Content-Type": "text/xml; charset=utf-8"}
_stamps = itertools.count(1)
_Request = tuple[bytes, dict[str, str]]


class Messenger:
    """Salesforce as a sender of pushes."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    def _path(self, route: RouteOfTheWorld, secret: str) -> str:
        return f"/outbound/{route.name}/{secret}"

    async def deliver(self, route: RouteOfTheWorld, record: RecordId, name: str, row: Mapping[str, Any]) -> None:
        """Send the record as `row` says it was, until it is taken. A message keeps its `name` when it is sent again."""
        if route.push == "outbound":
            await self._until_taken(
                self._path(route, self._talk.world.path_secret), lambda: self._outbound(record, name, row)
            )
        else:
            await self._until_taken(f"/callouts/{route.name}", lambda: self._callout(record, name, row))

    async def bury(self, route: RouteOfTheWorld, record: RecordId, name: str, at: datetime) -> None:
        """Send the tombstone of a record that was deleted `at` that moment, until it is taken."""
        fields = {"Id": "a00000000000001AAA", "Record_Id__c": record, "SystemModstamp": at.isoformat()}
        sent = notification(_identity(name), fields, type_="Deleted_Record__c")
        body = message([sent], org=self._talk.world.org_id)
        path = self._path(route, self._talk.world.path_secret)
        await self._until_taken(f"{path}/tombstones", lambda: (body, _SOAP))

    async def forge(self, route: RouteOfTheWorld, record: RecordId, name: str, row: Mapping[str, Any]) -> None:
        """Send once what anyone can who knows the IDs: the deal is won, for a fortune, in the far future."""
        forged = {**row, **_FORGED}
        if route.push == "outbound":
            for path in (f"/outbound/{route.name}", self._path(route, "x" * 43)):
                await self._talk.push(path, *self._outbound(record, f"{name}/forged", forged))
        else:
            body, headers = self._callout(record, f"{name}/forged", forged)
            headers["X-Closedwon-Signature"] = "v1=" + "0" * 64
            await self._talk.push(f"/callouts/{route.name}", body, headers)

    async def _until_taken(self, path: str, make: Callable[[], _Request]) -> None:
        while True:
            status = await self._talk.push(path, *make())
            if 200 <= status < 300:
                return
            assert status != HTTPStatus.NOT_FOUND, "no route takes it, and none ever will"
            await asyncio.sleep(_AGAIN)  # the receiver may just have been killed

    def _outbound(self, record: RecordId, name: str, row: Mapping[str, Any]) -> _Request:
        fields = {key: _xml(value) for key, value in sorted(row.items()) if _is_plain(key, value)}
        sent = [notification(_identity(name), {"Id": record, **fields})]
        return message(sent, org=self._talk.world.org_id), _SOAP

    def _callout(self, record: RecordId, name: str, row: Mapping[str, Any]) -> _Request:
        records = [{"recordId": record, "id": name, "fields": row}]
        body = json.dumps({"org": self._talk.world.org_id, "records": records}).encode()
        body += b" " * (next(_stamps) % 5000)  # a signature is good once: the same content is signed as another body
        stamp = str(int(time.time()))
        digest = hmac.digest(self._talk.world.callout_key.encode(), f"{stamp}.".encode() + body, "sha256").hex()
        return body, {
            "Content-Type": "application/json",
            "X-Closedwon-Timestamp": stamp,
            "X-Closedwon-Signature": f"v1={digest}",
        }


def _identity(name: str) -> RecordId:
    return RecordId("04l" + hashlib.sha256(name.encode()).hexdigest()[:12])


def _is_plain(name: str, value: object) -> bool:
    return name not in ("Id", "attributes") and value is not None and not isinstance(value, dict | list)


def _xml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
