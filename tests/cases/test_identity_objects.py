"""Case I8: pushed records of another object than the route's."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import UTC, datetime

import aiohttp
import pytest
from pydantic import SecretStr

from closedwon.acceptance import order_start
from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.model.messages import Message
from closedwon.model.orders import idempotency_key
from closedwon.model.routes import Channel
from closedwon.names import OrderStage
from closedwon.temporal.orders import start_order
from tests.cases.identity import ORDER_OF_MESSAGE, message_about
from tests.support import checks as support
from tests.support.deals import (
    attention_reason,
)
from tests.support.handoff import handoff
from tests.support.intake import PROVEN, PROVEN_ROUTE, deliver, intake

CALLOUT_KEY = "a key that both ends know, made for one test"


def signed_headers(body: bytes) -> dict[str, str]:
    """The headers of a callout with this body, signed with `CALLOUT_KEY`."""
    timestamp = str(int(time.time()))
    digest = hmac.new(CALLOUT_KEY.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"X-Closedwon-Timestamp": timestamp, "X-Closedwon-Signature": f"v1={digest}"}
    return {"Content-Type": "application/json", **headers}


@pytest.mark.parametrize("channel", ["outbound", "callouts"])
@pytest.mark.parametrize("stranger", ["001000000000001AAA", "500000000000001AAA"])
async def test_i8_a_pushed_record_of_another_object_is_refused(channel: str, stranger: str) -> None:
    """The id of an Account or a Case on a route of Opportunities starts nothing, as by an event or a tombstone."""
    callouts = {"keys": [SecretStr(CALLOUT_KEY)]}
    async with handoff(outbound=PROVEN, callouts=callouts, **ORDER_OF_MESSAGE) as world, intake(world) as address:
        record = RecordId(stranger)
        if channel == "outbound":
            status, _ = await deliver(
                address, message_about(world.org.org_id, record, Amount="1.00"), route=PROVEN_ROUTE
            )
        else:
            fields = {"Name": "Roof", "AccountId": "001000000000001", "IsWon": "true", "Amount": 1.0}
            call = {"org": world.org.org_id, "records": [{"recordId": record, "id": "n-1", "fields": fields}]}
            body = json.dumps(call).encode()
            url = f"{address}/callouts/won-0"
            async with aiohttp.request("POST", url, data=body, headers=signed_headers(body)) as answer:
                status = answer.status

        assert status >= 400
        assert not await world.has_begun(record)


async def test_i8_the_key_prefix_of_a_custom_object_is_read_from_the_org() -> None:
    """Only the org knows it; the checks of a running worker have asked, so a record of another object is refused."""
    shape = ORDER_OF_MESSAGE | {"object": "Deleted_Record__c", "qualify": "IsWon", "write_back": {}}
    mine, stranger = RecordId("a00000000000001"), RecordId("a01000000000001")
    async with handoff(**shape) as world, support.checked(world, subscriber=False):
        content = {"Name": "Roof", "AccountId": "001000000000001", "IsWon": True, "Amount": 1}
        content["Product_Code__c"] = "GC1040"
        for record in (stranger, mine):
            start = order_start(world.settings, world.settings.routes[0], record)
            message = Message(id="m", channel=Channel.CALLOUT, received_at=datetime.now(UTC), payload=content)
            await start_order(world.client, start, message)

        await world.until_stage(mine, OrderStage.COMPLETED)
        await world.until_stage(stranger, OrderStage.ATTENTION)
        assert AttentionReason.INVALID_MESSAGE == await attention_reason(world, stranger)
        assert [idempotency_key(world.org.org_id, mine)] == [one["idempotency_key"] for one in world.erp.orders()]
