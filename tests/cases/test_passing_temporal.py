"""Cases P5 and P6: what is too large for Temporal needs a person at once; what only one record meets stops no other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from activities import salesforce
from closedwon import names
from closedwon.acceptance import Notification, accept
from closedwon.demo.parts import program
from closedwon.emulators.ports import free_port
from closedwon.ids import RecordId
from closedwon.model.routes import Channel
from closedwon.temporal.orders import TooLargeMessageError
from tests.support.handoff import Handoff, handoff, until
from tests.support.intake import PROVEN, PROVEN_ROUTE, deliver, intake, soap_message
from tests.support.servers import STARTUP, start_temporal

_SIGNALS = 3
_FEW_SIGNALS: dict[str, Any] = {"history.maximumSignalsPerExecution": _SIGNALS}
_SMALL_VALUES: dict[str, Any] = {"limit.blobSize.error": 20_000, "limit.blobSize.warn": 10_000}
_EVENT: dict[str, Any] = {"outbound": PROVEN, "events": (), "source": "event", "select": None, "payload": "@"}


async def test_p5_an_order_that_is_too_large_needs_a_person_at_the_first_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is read once; the problem names the record and both sizes."""
    monkeypatch.setattr(salesforce, "LARGEST_VALUE", 500)
    async with handoff() as world, world.working(subscriber=False):
        world.org.seed(1)
        (record,) = await world.win(1)
        await world.until_stage(record, names.OrderStage.ATTENTION)
        assert "mapping-failed" == await world.reason(record)
        metadata = await world.order(record).query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        details = metadata.current_details
        assert record in details
        assert "500 bytes fit into Temporal" in details
        history = await world.order(record).fetch_history()
        failed = [event for event in history.events if event.HasField("activity_task_failed_event_attributes")]
        assert not failed  # the local attempt was the only one


async def test_p6_a_full_record_stops_neither_its_channel_nor_the_others() -> None:
    """Its notification is held as a message that cannot be read; when its order has gone on, `retry` delivers it."""
    async with (
        await start_temporal(**_FEW_SIGNALS) as server,
        handoff(temporal_server=server, outbound=PROVEN) as world,
        intake(world) as address,
    ):
        world.org.seed(2)
        full, other = (RecordId(row["Id"]) for row in world.org.query("SELECT Id FROM Opportunity")[:2])
        for number in range(_SIGNALS):
            await _notify(world, full, f"event-{number}")
        await _notify(world, full, "one too many")
        body = soap_message(world.org.org_id, [full, other])
        status, answer = await deliver(address, body, route=PROVEN_ROUTE)
        assert (200, True) == (status, "<Ack>true</Ack>" in answer)
        assert [other] == await world.begun(other)
        held = await _held(world, 2)
        async with world.working(subscriber=False):
            await world.order(full).result()
            for workflow_id in held:
                handle = world.client.get_workflow_handle(workflow_id)
                await handle.signal(names.SIGNAL_RETRY)
                assert names.OrderStage.COMPLETED == await handle.result()


async def test_p6_only_the_size_is_final() -> None:
    """A namespace with a lower limit says so. Missing search attributes have the same code, and are sent again."""
    async with (
        await start_temporal(**_SMALL_VALUES) as server,
        handoff(temporal_server=server, **_EVENT) as world,
    ):
        with pytest.raises(TooLargeMessageError, match=r"0065g00000AbCdEAAV is too large.* 20,000 fit"):
            await _notify(world, RecordId("0065g00000AbCdEAAV"), "large", {"Name": "x" * 30_000})
        await _notify(world, RecordId("0065g00000AbCdEAAV"), "small", {"Name": "x"})
    async with (
        await WorkflowEnvironment.start_local(
            port=free_port(), dev_server_existing_path=program("temporal"), dev_server_startup_timeout=STARTUP
        ) as server,
        handoff(temporal_server=server, **_EVENT) as world,
        intake(world) as address,
    ):
        body = soap_message(world.org.org_id, ["006000000000001AAA"])
        status, answer = await deliver(address, body, route=PROVEN_ROUTE)
        assert (500, True) == (status, "soapenv:Server" in answer)  # what SOAP has for "send again"
        with pytest.raises(RPCError) as refused:
            await _notify(world, RecordId("006000000000001AAA"), "m", {"Name": "x"})
        assert RPCStatusCode.INVALID_ARGUMENT is refused.value.status


async def _notify(world: Handoff, record: RecordId, message: str, fields: dict[str, Any] | None = None) -> None:
    notification = Notification(record, message, Channel.PLATFORM_EVENT, received_at=datetime.now(UTC), fields=fields)
    await accept(world.client, world.settings, world.settings.routes[0], notification)


async def _held(world: Handoff, number: int) -> list[str]:
    async def found() -> list[str]:
        query = f"WorkflowType = '{names.UNPARSEABLE_MESSAGE_WORKFLOW}' AND ExecutionStatus = 'Running'"
        return [one.id async for one in world.client.list_workflows(query)]

    async def all_found() -> bool:
        return len(await found()) == number

    await until(all_found)
    return await found()
