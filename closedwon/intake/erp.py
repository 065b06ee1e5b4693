"""`POST /erp/<name>`: an ERP reports a changed order, and the workflow that follows this order reads it at once.

The request is only a hint, as every notification is: the workflow reads the order from the ERP. Requests are signed
like callouts, with the ERP's own keys.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.intake.delivery import MessageRefusedError, NotDurableError, answer_until
from closedwon.intake.limits import CALLER, Limits
from closedwon.model.orders import parse_idempotency_key
from closedwon.names import OrderStage
from closedwon.salesforce.push.signature import SeenSignatures, SignatureError, verify
from closedwon.settings import ErpSettings
from closedwon.temporal.visibility import all_of, equals

_NUMBER: Final = re.compile(r"[\w./ -]{1,64}")
"""Numbers that are safe in a query without quoting."""


class ErpChanges:
    """Answers for the ERPs that have a webhook."""

    def __init__(self, erps: dict[str, ErpSettings], client: Client, limits: Limits) -> None:
        """`erps`: by name."""
        self._limits = limits
        self._erps = erps
        self._client = client
        self._seen = SeenSignatures()

    async def take(self, request: web.Request) -> web.Response:
        """Wake the workflows of one order and answer with their number. Zero is not an error: none may follow it."""
        erp, keys = self.check(request.match_info["erp"])
        body = await request.read()
        caller = request[CALLER]
        try:
            verify(request.headers, body, keys, datetime.now(UTC), self._seen, path=f"/erp/{erp}")
        except SignatureError as error:
            self._limits.charge_garbage(caller, len(body))
            raise MessageRefusedError(HTTPStatus.UNAUTHORIZED, error.reason, str(error)) from None
        caller = caller._replace(is_proven=True)
        self._limits.check(caller, erp)
        self._limits.charge(caller, erp, 1)
        try:
            with self._limits.working(caller):
                async with asyncio.timeout_at(answer_until.get()):
                    woken = [each for each in await self._workflows(body) if await self._wake(each)]
        except (TimeoutError, RPCError):
            raise NotDurableError("Temporal did not accept it") from None
        return web.json_response({"woken": len(woken)}, status=HTTPStatus.ACCEPTED)

    def check(self, name: str) -> tuple[str, Sequence[SecretStr]]:
        """Return the ERP's name and its keys. Raises `MessageRefusedError` if it has no webhook."""
        erp = self._erps.get(name)
        if erp is None or erp.webhook is None:
            raise MessageRefusedError(
                HTTPStatus.NOT_FOUND, "no-route", "no ERP of this name has a webhook; see `erps.webhook`"
            )
        return erp.name, erp.webhook.keys

    async def _workflows(self, body: bytes) -> list[str]:
        change = _object(body)
        key, number = change.get("idempotency_key"), change.get("number")
        if isinstance(key, str):
            try:
                return [names.order_workflow_id(*parse_idempotency_key(key))]
            except ValueError:
                raise _malformed(
                    "`idempotency_key` must be `<org id>:<record id>`, the key that the order was created with"
                ) from None
        if isinstance(number, str) and _NUMBER.fullmatch(number):
            query = all_of(equals(names.ERP_ORDER_NUMBER, number), equals(names.ORDER_STAGE, OrderStage.FOLLOWING))
            return [each.id async for each in self._client.list_workflows(query)]
        raise _malformed("send a JSON object with `idempotency_key` or with the order's `number`")

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
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _malformed(text: str) -> MessageRefusedError:
    return MessageRefusedError(HTTPStatus.BAD_REQUEST, "malformed", text)
