"""Notifications of the ERP that an order has changed there, over real sockets."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from closedwon.model.orders import idempotency_key
from closedwon.names import OrderStage
from closedwon.settings import Webhook
from tests.support.handoff import Handoff, handoff
from tests.support.intake import intake

_KEY = "what the ERP signs with, made for this test"
_FOLLOW: dict[str, Any] = {"initial_interval": "12h", "maximum_interval": "12h"}


async def _post(address: str, body: dict[str, Any], *, key: str = _KEY, erp: str = "stub") -> tuple[int, Any]:
    raw, timestamp = json.dumps(body).encode(), str(int(time.time()))
    digest = hmac.new(key.encode(), f"{timestamp}.".encode() + raw, hashlib.sha256).hexdigest()
    headers = {"X-Closedwon-Timestamp": timestamp, "X-Closedwon-Signature": f"v1={digest}"}
    async with aiohttp.request("POST", f"{address}/erp/{erp}", data=raw, headers=headers) as response:
        return response.status, await response.json(content_type=None)


def _with_webhook(world: Handoff) -> None:
    erp = world.settings.erps[0].model_copy(update={"webhook": Webhook(keys=(SecretStr(_KEY),))})
    world.settings = world.settings.model_copy(update={"erps": (erp,)})


@pytest.mark.parametrize("by", ["idempotency_key", "number"])
async def test_a_notification_of_the_erp_wakes_the_workflow_that_follows_the_order(by: str) -> None:
    """The next read was due in twelve hours; it happens at once, and Salesforce gets the new status."""
    async with handoff(follow=_FOLLOW) as world, world.working():
        _with_webhook(world)
        async with intake(world) as address:
            world.org.seed(1)
            (record,) = world.org.win_next(1)
            await world.until_stage(record, OrderStage.FOLLOWING)
            (order,) = world.erp.orders()
            url = f"{world.erp.url}/_admin/orders/{order['id']}"
            async with aiohttp.request("POST", url, json={"status": "done"}) as changed:
                changed.raise_for_status()
            key = idempotency_key(world.org.org_id, record)
            answer = await _post(address, {by: key if by == "idempotency_key" else order["number"]})
            outcome = await world.order(record).result()
            afterwards = await _post(address, {"idempotency_key": key, "id": "change-2"})

            assert (202, {"woken": 1}) == answer
            assert OrderStage.COMPLETED is outcome.stage
            assert "done" == world.org.get("Opportunity", record)["ERP_Order_Status__c"]
            assert (202, {"woken": 0}) == afterwards


async def test_an_unsigned_or_empty_notification_is_refused() -> None:
    """A wrong key, an ERP without a webhook, a body without an order: each is refused with a reason."""
    async with handoff() as world:
        _with_webhook(world)
        async with intake(world) as address:
            assert 401 == (await _post(address, {"number": "1"}, key="another"))[0]
            assert 404 == (await _post(address, {"number": "1"}, erp="other"))[0]
            for body in ({}, {"number": "' OR 1 = 1"}, {"idempotency_key": "nonsense"}):
                status, problem = await _post(address, body)
                assert (400, True) == (status, "number" in str(problem) or "idempotency_key" in str(problem))
