"""From a won deal to the number in Salesforce, on real parts: unlucky moments, unlucky data, unlucky settings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.bridge.proto.activity_task import ActivityTask
from temporalio.bridge.worker import Worker as BridgeWorker
from temporalio.common import MetricMeter, SearchAttributeKey
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from activities.messages import MessageActivities
from activities.subscription import SubscriptionActivities
from closedwon import names
from closedwon.acceptance import order_start
from closedwon.demo.parts import program
from closedwon.emulators.erp.stub import StubErp
from closedwon.errors import AttentionReason
from closedwon.model.messages import Message, UnparseableMessage
from closedwon.model.routes import Channel
from closedwon.model.subscriptions import Subscribe
from closedwon.names import OrderStage
from closedwon.salesforce.bus.events import EventBatch, ReplayIdRejectedError
from closedwon.settings import ErpByExpression, RestErp, Route
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.orders import start_order
from closedwon.temporal.search_attributes import (
    SearchAttributesMissingError,
    ensure_search_attributes,
    missing_search_attributes,
)
from tests.support.handoff import CHANNEL, Handoff, handoff, until
from tests.support.servers import STARTUP
from tests.support.waiting import STALL
from workers.process import Role, WorkerFailedError, run


def _event(
    world: Handoff, record: str, number: int = 0, at: datetime | None = None, **payload: object
) -> dict[str, Any]:
    created = (at or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    ids = {"Opportunity_Id__c": record, "Organization_Id__c": world.org.org_id}
    return {
        "schema": "s",
        "payload": {"CreatedDate": created, "CreatedById": "005", **ids, **payload},
        "event": {"EventUuid": f"00000000-0000-4000-8000-{number:012d}"},
    }


def _deal(record: str, *, quantity: float = 2.0, name: str = "Copy") -> str:
    line = {"Product2": {"ProductCode": "GC1040"}, "Quantity": quantity, "UnitPrice": 5000.0}
    return json.dumps(
        {
            "Id": record,
            "Name": name,
            "IsWon": True,
            "Amount": quantity * 5000.0,
            "CurrencyIsoCode": "EUR",
            "Account": {"Id": "001000000000001AAA", "Name": "Edge"},
            "OpportunityLineItems": {"records": [line]},
        }
    )


async def _runs_are_over(world: Handoff, record: Any, runs: int) -> bool:
    found = [e async for e in world.client.list_workflows(f"WorkflowId = '{world.order(record).id}'")]
    return len(found) == runs and all(run.close_time for run in found)


async def test_a_deal_whose_route_now_picks_another_erp_is_not_ordered_twice() -> None:
    """The ERP is picked by an expression whose value changes after the order was made: a person is asked."""
    async with StubErp.running() as other, handoff() as world:
        _pick_erp(world, "Name == 'moved' && 'other' || 'stub'")
        more = RestErp(kind="rest", name="other", url=other.url, token=SecretStr(other.token))
        world.settings = world.settings.model_copy(update={"erps": (*world.settings.erps, more)})
        async with world.working():
            world.org.seed(1)
            (record,) = world.org.win_next(1)
            await world.until_written_back(record)
            await world.order(record).result()
            world.org.update("Opportunity", record, Name="moved")
            world.org.publish_raw(CHANNEL, _event(world, record, 1))
            await until(lambda: _is_second_notification_handled(world, record))

            assert 1 == len(world.erp.orders()) + len(other.orders())
            assert OrderStage.ATTENTION == await world.stage(record)


async def test_an_order_in_an_erp_that_cannot_look_by_number_is_not_made_again_in_one_that_can() -> None:
    """It was made by hand and has no key; when the route picks the other ERP, the record still has its number."""
    async with StubErp.running() as other, handoff() as world:
        _pick_erp(world, "Name == 'moved' && 'stub' || 'other'")
        other.faults.no_claims = other.faults.no_number_lookup = True
        other.faults.reject = 1
        more = RestErp(kind="rest", name="other", url=other.url, token=SecretStr(other.token))
        world.settings = world.settings.model_copy(update={"erps": (*world.settings.erps, more)})
        async with world.working(subscriber=False):
            world.org.seed(1)
            (record,) = await world.win(1)
            await world.until_stage(record, OrderStage.ATTENTION)
            await world.order(record).signal(names.SIGNAL_RESOLVE, {"number": "PO-77", "accept_differences": True})
            await world.until_written_back(record)
            resolved = await world.order(record).result()
            world.org.update("Opportunity", record, Name="moved")
            await _notify(world, world.settings.routes[0], record, "m-2")
            await world.until_stage(record, OrderStage.ATTENTION)

            assert OrderStage.COMPLETED is resolved.stage
            assert [] == world.erp.orders()


async def test_a_deal_that_passes_from_route_to_route_is_not_ordered_twice() -> None:
    """Each of two routes has an ERP of its own; the deal was ordered by one and qualifies for the other now."""
    async with StubErp.running() as other, handoff(qualify="IsWon && Name != 'moved'") as world:
        more = RestErp(kind="rest", name="other", url=other.url, token=SecretStr(other.token))
        (first,) = world.settings.routes
        changes = {"name": "other", "erp": "other", "qualify": "IsWon && Name == 'moved'", "events": ()}
        second = first.model_copy(update=changes)
        erps = (*world.settings.erps, more)
        world.settings = world.settings.model_copy(update={"erps": erps, "routes": (first, second)})
        async with world.working(subscriber=False):
            world.org.seed(2)
            passed, new = world.org.win_next(2)
            await _notify(world, first, passed, "m-1")
            await world.order(passed).result()
            for record in (passed, new):
                world.org.update("Opportunity", record, Name="moved")
                await _notify(world, second, record, "m-2")
            await world.until_stage(passed, OrderStage.ATTENTION)
            await world.until_stage(new, OrderStage.COMPLETED)

            assert (1, 1) == (len(world.erp.orders()), len(other.orders()))


async def _notify(world: Handoff, route: Route, record: Any, message_id: str) -> None:
    message = Message(id=message_id, channel=Channel.OPERATOR, received_at=datetime.now(UTC))
    await start_order(world.client, order_start(world.settings, route, record), message)


def _pick_erp(world: Handoff, expression: str) -> None:
    route = world.settings.routes[0].model_copy(update={"erp": ErpByExpression(expression=expression)})
    world.settings = world.settings.model_copy(update={"routes": (route,)})


async def _is_second_notification_handled(world: Handoff, record: Any) -> bool:
    return await world.stage(record) == OrderStage.ATTENTION or await _runs_are_over(world, record, 2)


async def test_an_order_for_an_unknown_erp_can_be_cancelled() -> None:
    """The expression yields a name that no ERP has: `cancel` still ends the order workflow."""
    async with handoff() as world:
        _pick_erp(world, "Name")
        async with world.working():
            world.org.seed(1)
            (record,) = world.org.win_next(1)
            await world.until_stage(record, OrderStage.ATTENTION)
            await world.order(record).signal("cancel")
            async with asyncio.timeout(STALL):
                outcome = await world.order(record).result()

        assert OrderStage.CANCELLED is outcome.stage
        assert "cancelled" == world.org.get("Opportunity", record)["ERP_Order_Status__c"]


async def test_a_text_with_half_a_character_does_not_stop_the_channel() -> None:
    """Apex cuts texts anywhere, also through an emoji: the event waits for a person, the next one is handled."""
    async with handoff(source="event") as world, world.working():
        world.org.seed(2)
        won, cut = (opportunity["Id"] for opportunity in world.org.query("SELECT Id FROM Opportunity"))
        world.org.publish_raw(CHANNEL, _event(world, cut, 1, Payload__c=_deal(cut), Note__c="cut \ud83d"))
        world.org.publish_raw(CHANNEL, _event(world, won, 2, Payload__c=_deal(won)))
        await until(lambda: any(won in order["idempotency_key"] for order in world.erp.orders()))
        query = f"{names.ATTENTION_REASON} = '{AttentionReason.INVALID_MESSAGE}'"
        await until(lambda: _is_any(world, query))


async def test_the_largest_event_that_cannot_be_parsed_is_kept_whole() -> None:
    """An event of a megabyte, the bus's limit, fits into Temporal in any script: it does not stop the channel."""
    async with handoff() as world:
        messages = MessageActivities(world.settings, world.client, Metrics(MetricMeter.noop))
        raw = {"payload": {"Note__c": "成交" * 165_000, "Cut__c": "half of an emoji \ud83d"}}
        await messages.accept(
            world.settings.routes[0], world.org.org_id, raw, event_id="e-1", source=CHANNEL, at=datetime.now(UTC)
        )
        handle = world.client.get_workflow_handle(names.unparseable_message_workflow_id(world.org.org_id, "e-1"))
        history = await handle.fetch_history()
        (kept,) = history.events[0].workflow_execution_started_event_attributes.input.payloads
        await handle.terminate()

        assert raw == json.loads(UnparseableMessage.model_validate_json(kept.data).raw)


async def _is_any(world: Handoff, query: str) -> bool:
    return bool([e async for e in world.client.list_workflows(query)])


async def test_the_newer_of_two_events_makes_the_order_however_they_are_started() -> None:
    """Starts are concurrent, so two events of one record may reach Temporal in reverse order."""
    async with handoff(source="event") as world:
        record = world.org.seed(1)[0]
        messages = MessageActivities(world.settings, world.client, Metrics(MetricMeter.noop))
        now = datetime.now(UTC)
        for quantity, at in ((3.0, now), (2.0, now - timedelta(seconds=1))):
            raw = _event(world, record, at=at, Payload__c=_deal(record, quantity=quantity))
            await messages.accept(
                world.settings.routes[0], world.org.org_id, raw, event_id=str(quantity), source=CHANNEL, at=at
            )
        async with world.working(subscriber=False):
            await world.order(record).result()

        assert [15000.0] == [float(order["amount"]) for order in world.erp.orders()]


async def test_every_record_of_a_merged_change_event_is_ordered() -> None:
    """Equal changes of one transaction are one event that lists three records: three orders, none of them lost."""
    async with handoff(record_id="ChangeEventHeader.recordIds[0]", org_id=None) as world:
        world.org.seed(3)
        won = world.org.win_next(3)
        messages = MessageActivities(world.settings, world.client, Metrics(MetricMeter.noop))
        header = {"entityName": "Opportunity", "changeType": "UPDATE", "recordIds": [*won, won[0].short]}
        raw = {"payload": {"ChangeEventHeader": header, "StageName": "Closed Won"}, "event": {}}
        route, now = world.settings.routes[0], datetime.now(UTC)
        await messages.accept(route, world.org.org_id, raw, event_id=None, source=CHANNEL, at=now)
        async with world.working(subscriber=False):
            await world.until_written_back(*won)

        assert 3 == len(world.erp.orders())


class _Refusing:
    """A bus that refuses every position, also the earliest one."""

    async def open(self) -> None: ...
    async def subscribe(self, channel: str, position: str) -> None:
        raise ReplayIdRejectedError(channel, position, "400::The replayId {-2} you provided was invalid")

    def batches(self) -> AsyncIterator[EventBatch]:
        raise NotImplementedError

    async def close(self) -> None: ...


async def test_a_bus_that_refuses_the_earliest_position_opens_no_further_gap() -> None:
    """There is no other position to fall back to, so subscribing is retried with growing intervals."""
    async with handoff() as world:
        messages = MessageActivities(world.settings, world.client, Metrics(MetricMeter.noop))
        subscription = SubscriptionActivities(world.settings, messages, lambda _org: _Refusing(), asyncio.Event())
        with pytest.raises(ApplicationError, match="replayId"):
            await ActivityEnvironment().run(subscription.subscribe, Subscribe(org=world.org.org_id, channel=CHANNEL))


async def test_a_search_attribute_of_another_type_stops_the_start_with_its_name() -> None:
    """A shared namespace may have a `Route` of its own: waiting for it to change would never end."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=program("temporal"),
        dev_server_startup_timeout=STARTUP,
        data_converter=pydantic_data_converter,
    ) as server:
        await server.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=server.client.namespace,
                search_attributes={names.ROUTE: IndexedValueType.INDEXED_VALUE_TYPE_INT},
            )
        )
        with pytest.raises(SearchAttributesMissingError, match=names.ROUTE):
            async with asyncio.timeout(STALL):
                await ensure_search_attributes(server.client)


async def test_a_worker_that_may_not_add_search_attributes_stops_with_the_command_to_do_so() -> None:
    """A namespace with a database of its own takes ten keywords, and four of another application are there."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=program("temporal"),
        dev_server_startup_timeout=STARTUP,
        data_converter=pydantic_data_converter,
        search_attributes=[SearchAttributeKey.for_keyword(f"Theirs{number}") for number in range(4)],
    ) as server:
        with pytest.raises(SearchAttributesMissingError) as caught:
            await ensure_search_attributes(server.client)
        missing = await missing_search_attributes(server.client)

    assert names.SEARCH_ATTRIBUTES == missing
    assert "more than 10 search attribute of type Keyword" in str(caught.value)
    command = "temporal operator search-attribute create --namespace default"
    assert " ".join([command, *(f"--name {name} --type Keyword" for name in missing)]) in str(caught.value)


async def test_a_worker_that_temporal_refuses_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose workers are dead must not look alive: it ends, so that its supervisor starts another."""
    is_revoked = asyncio.Event()
    refused: set[BridgeWorker] = set()
    really_poll = BridgeWorker.poll_activity_task

    async def poll(worker: BridgeWorker) -> ActivityTask:
        if worker in refused:
            return await really_poll(worker)  # to its orderly end
        await is_revoked.wait()
        refused.add(worker)
        raise RuntimeError("Poll failure: PermissionDenied")

    async with handoff() as world:
        monkeypatch.setenv("TEMPORAL_ADDRESS", world.client.service_client.config.target_host)
        monkeypatch.setattr(BridgeWorker, "poll_activity_task", poll)
        telemetry = world.settings.telemetry.model_copy(update={"port": 0})
        running = asyncio.create_task(run(world.settings.model_copy(update={"telemetry": telemetry}), [Role.ORDERS]))
        await until(lambda: _has_pollers(world))
        is_revoked.set()
        with pytest.raises(WorkerFailedError, match="cannot go on"):
            async with asyncio.timeout(STALL):
                await running


async def _has_pollers(world: Handoff) -> bool:
    queue = TaskQueue(name=names.ORDERS_QUEUE)
    described = await world.client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=world.client.namespace,
            task_queue=queue,
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    return bool(described.pollers)


async def test_a_cancelled_deal_of_a_route_by_event_is_ordered_again_only_when_it_is_won_again() -> None:
    """A reader that crashed reads events again. One of a cancelled deal changes nothing; a newer win orders again."""
    async with handoff(source="event") as world, world.working():
        record = world.org.seed(1)[0]
        world.erp.faults.down = True
        event = _event(world, record, 1, Payload__c=_deal(record))
        world.org.publish_raw(CHANNEL, event)
        await world.until_stage(record, OrderStage.ORDERING)
        await world.order(record).signal("cancel")
        world.erp.faults.down = False
        await world.until_stage(record, OrderStage.CANCELLED)
        for number in (1, 2):  # the very event, and another one from before the cancel
            earlier = datetime.now(UTC) - timedelta(minutes=1)
            world.org.publish_raw(CHANNEL, _event(world, record, number, earlier, Payload__c=_deal(record)))
        await until(lambda: _has_acted_on(world, record, 3))
        assert 0 == await _steps_after(world, record, 3)  # it did not even read them
        assert [] == [order for order in world.erp.orders() if order["status"] != "cancelled"]
        made_and_cancelled = len(world.erp.orders())

        world.org.publish_raw(CHANNEL, _event(world, record, 3, Payload__c=_deal(record)))
        if made_and_cancelled:  # an attempt under way had made it: then its key is taken, and a person is asked
            await world.until_stage(record, OrderStage.ATTENTION)
        else:
            await until(lambda: ["confirmed"] == [order["status"] for order in world.erp.orders()])


async def _has_acted_on(world: Handoff, record: Any, notifications: int) -> bool:
    """Whether the workflow has run since it got this number of notifications: only then are their effects visible."""
    events = await _events_after(world, record, notifications)
    started = [one.event_id for one in events if one.HasField("workflow_task_started_event_attributes")]
    completed = {
        one.workflow_task_completed_event_attributes.started_event_id
        for one in events
        if one.HasField("workflow_task_completed_event_attributes")
    }
    return bool(completed.intersection(started))


async def _steps_after(world: Handoff, record: Any, notifications: int) -> int:
    events = await _events_after(world, record, notifications)
    return sum(one.HasField("activity_task_scheduled_event_attributes") for one in events)


async def _events_after(world: Handoff, record: Any, notifications: int) -> list[HistoryEvent]:
    """The workflow's events after the last of `notifications` notifications; none while there are fewer."""
    events = list((await world.order(record).fetch_history()).events)
    received = [
        place
        for place, one in enumerate(events)
        if one.workflow_execution_signaled_event_attributes.signal_name == names.SIGNAL_NOTIFIED
    ]
    return events[received[-1] + 1 :] if len(received) == notifications else []
