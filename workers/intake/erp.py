"""`POST /erp/<name>`: an ERP says that an order has changed there, and whoever watches that order looks at once.

Only a hint, as every message is: the ERP is asked, not believed. Signed as callouts are, with the ERP's own keys.
"""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.model import parse_idempotency_key
from closedwon.names import OrderStage
from closedwon.salesforce.signature import Seen, SignatureError, verify
from closedwon.settings import ErpSettings
from workers.intake.delivery import NotDurableError, RefusedError, answer_until

_NUMBER: Final = re.compile(r"[\w./ -]{1,64}")
"""What may stand in a query as it is."""


class ErpChanges:
    """Answers for the ERPs that have a webhook."""

    def __init__(self, erps: dict[str, ErpSettings], client: Client) -> None:
        """Remember no signature yet."""
        self._erps = erps
        self._client = client
        self._seen = Seen()

    async def take(self, request: web.Request) -> web.Response:
        """Wake the workflows of one order; the answer counts them. None is no mistake: nobody may be watching it."""
        erp = self._erps.get(request.match_info["erp"])
        if erp is None or erp.webhook is None:
            raise RefusedError(
                HTTPStatus.NOT_FOUND, "no-route", "no ERP of this name has a webhook; see `erps.webhook`"
            )
        body = await request.read()
        try:
            verify(request.headers, body, erp.webhook.keys, datetime.now(UTC), self._seen)
        except SignatureError as error:
            raise RefusedError(HTTPStatus.UNAUTHORIZED, error.reason, str(error)) from None
        try:
            async with asyncio.timeout_at(answer_until.get()):
                woken = [each for each in await self._workflows(body) if await self._wake(each)]
        except (TimeoutError, RPCError):
            raise NotDurableError("Temporal does not take it") from None
        return web.json_response({"woken": len(woken)}, status=HTTPStatus.ACCEPTED)

    async def _workflows(self, body: bytes) -> list[str]:
        told = _object(body)
        key, number = told.get("idempotency_key"), told.get("number")
        if isinstance(key, str):
            try:
                return [names.order_workflow_id(*parse_idempotency_key(key))]
            except ValueError:
                raise _malformed(
                    "`idempotency_key` must be `<org id>:<record id>`, as the order was made with"
                ) from None
        if isinstance(number, str) and _NUMBER.fullmatch(number):
            query = f"{names.ERP_ORDER_NUMBER} = '{number}' AND {names.ORDER_STAGE} = '{OrderStage.FOLLOWING}'"
            return [each.id async for each in self._client.list_workflows(query)]
        raise _malformed("send a JSON object with `idempotency_key`, or with the order's `number`")

    async def _wake(self, workflow_id: str) -> bool:
        try:
            await self._client.get_workflow_handle(workflow_id).signal(names.SIGNAL_ERP_CHANGED)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True


def _object(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _malformed(text: str) -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, "malformed", text)
