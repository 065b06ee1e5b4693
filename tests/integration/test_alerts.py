"""Alerts: each need of attention is reported once, in a text that contains nothing of a customer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.service import RPCError

from activities.alerts import SIGNATURE, signature
from closedwon import names
from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.model.alerts import Need
from closedwon.model.messages import Message, UnparseableMessage
from closedwon.model.order_state import OrderStart
from closedwon.model.routes import Channel
from closedwon.model.sweeps import SweepStart
from closedwon.names import OrderStage
from closedwon.settings import AlertSettings
from closedwon.temporal.messages import park_unparseable
from closedwon.temporal.orders import start_order
from closedwon.temporal.sweeps import start_sweep
from tests.support.handoff import Handoff, handoff, until
from tests.support.receiver import Receiver

_KEY = SecretStr("k" * 32)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A webhook that is there."""
    hook = Receiver()
    await hook.start()
    yield hook
    await hook.stop()


def _alerting(world: Handoff, receiver: Receiver) -> Handoff:
    alerts = AlertSettings(
        webhook=SecretStr(receiver.url), key=_KEY, token=SecretStr("t0ken"), ui="https://temporal.example.com"
    )
    world.settings = world.settings.model_copy(update={"alerts": alerts})
    return world


async def _settled(world: Handoff) -> None:
    """Wait until every alert that was begun is delivered."""

    async def none_is_open() -> bool:
        open_ones = f"WorkflowType = '{names.ALERT_WORKFLOW}' AND ExecutionStatus = 'Running'"
        return (await world.client.count_workflows(open_ones)).count == 0

    await until(none_is_open)


async def test_a_need_of_attention_is_reported_once_with_all_that_helps(receiver: Receiver) -> None:
    """One order that the ERP refuses: one signed body, with reason, sentence, hint, ids and a link; no customer."""
    async with handoff() as world, _alerting(world, receiver).working():
        world.erp.faults.reject = 1
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.ATTENTION)
        await until(lambda: receiver.taken != [])
        run = (await world.order(record).describe()).run_id
        await world.order(record).signal("retry")
        await world.until_written_back(record)
        await _settled(world)
        deal = world.org.get("Opportunity", record)
        metadata = await world.order(record).query("__temporal_workflow_metadata", result_type=WorkflowMetadata)

    (body,) = receiver.taken
    assert {
        "kind": "order",
        "reason": "erp-rejected",
        "sentence": AttentionReason.ERP_REJECTED.sentence,
        "org": world.org.org_id,
        "record": record,
        "route": "won-0",
        "channel": None,
        "erp": "stub",
        "workflow_id": f"order:{record}@{world.org.org_id}",
        "run_id": run,
        "url": f"https://temporal.example.com/namespaces/default/workflows/order%3A{record}%40{world.org.org_id}/{run}",
    } == {key: value for key, value in body.items() if key not in {"id", "at", "hint"}}
    assert body["hint"].endswith("send `retry`.")
    assert deal["Name"] not in json.dumps(body)
    assert "an alert is being sent" in str(metadata.current_details)
    assert "Bearer t0ken" == receiver.headers[0]["Authorization"]
    at = int(receiver.headers[0][SIGNATURE].split(",")[0].removeprefix("t="))
    assert signature(_KEY, at, receiver.raw[0]) == receiver.headers[0][SIGNATURE]


async def test_an_order_does_not_wait_for_the_receiver_of_its_alert(receiver: Receiver) -> None:
    """The webhook fails; the order is still corrected and completed, and the alert arrives when the webhook is back."""
    receiver.status = 500
    async with handoff() as world, _alerting(world, receiver).working():
        world.erp.faults.reject = 1
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await until(lambda: receiver.attempts > 0)
        await world.order(record).signal("retry")
        await world.until_written_back(record)
        await world.order(record).result()
        assert [] == receiver.taken
        receiver.status = 200
        await until(lambda: receiver.taken)
        await _settled(world)

    assert [record] == [body["record"] for body in receiver.taken]


async def test_the_same_need_is_not_reported_again(receiver: Receiver) -> None:
    """A notification that changes nothing sends no alert; a `retry` that did not help does."""
    async with handoff() as world, _alerting(world, receiver).working(subscriber=False):
        world.erp.faults.reject = 10
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        start = OrderStart(org=world.org.org_id, record=record, route="won-0")

        async def notify(number: int) -> None:
            word = Message(
                id=f"m-{number}",
                channel=Channel.OPERATOR,
                received_at=datetime.now(UTC),
            )
            await start_order(world.client, start, word)

        for number in range(3):
            await notify(number)
            await until(lambda number=number: world.erp.faults.reject == 9 - number)  # type: ignore[misc]
            await world.until_stage(record, OrderStage.ATTENTION)
        await until(lambda: len(receiver.taken) == 1)
        await world.order(record).signal("retry")
        await until(lambda: len(receiver.taken) == 2)
        await world.order(record).signal("cancel")
        await world.order(record).result()
        await _settled(world)

    assert 2 == len({body["id"] for body in receiver.taken}) == len(receiver.taken)


async def test_an_unparseable_message_is_reported(receiver: Receiver) -> None:
    """With where it came from, and without what it says."""
    async with handoff() as world, _alerting(world, receiver).working(subscriber=False):
        message = UnparseableMessage(
            id="m-1",
            org=world.org.org_id,
            channel=Channel.PLATFORM_EVENT,
            source="/event/Order_Requested__e",
            received_at=datetime.now(UTC),
            problem="it has no payload",
            raw='{"secret": "of a customer"}',
        )
        await park_unparseable(world.client, message)
        await until(lambda: receiver.taken != [])
        handle = world.client.get_workflow_handle(names.unparseable_message_workflow_id(message.org, message.id))
        answer = await handle.execute_update("skip", {"by": "jane", "reason": "a test"})
        assert OrderStage.NOT_NEEDED == await handle.result()

    (body,) = receiver.taken
    assert answer["accepted"]
    assert ("message", "invalid-message", message.source) == (body["kind"], body["reason"], body["channel"])
    assert b"customer" not in receiver.raw[0]


async def test_a_subscription_that_is_refused_is_reported(receiver: Receiver) -> None:
    """A channel that the org does not have: nothing is read, and somebody hears of it."""
    async with handoff(events=["/event/Not_There__e"]) as world, _alerting(world, receiver).working():
        await until(lambda: receiver.taken != [])

    assert "subscription" == receiver.taken[0]["kind"]
    assert "/event/Not_There__e" == receiver.taken[0]["channel"]


async def test_a_sweep_that_cannot_be_done_is_reported(receiver: Receiver) -> None:
    """Its route has no `[routes.sweep]`: somebody hears of it, by the route's name."""
    async with handoff() as world, _alerting(world, receiver).working(subscriber=False):
        start = SweepStart(org=world.org.org_id, route="won-0")
        await start_sweep(world.client, start, "sweep:test")
        await until(lambda: receiver.taken != [])
        await world.client.get_workflow_handle("sweep:test").cancel()

    assert ("sweep", "configuration", "won-0") == tuple(receiver.taken[0][key] for key in ("kind", "reason", "route"))


async def test_without_a_webhook_no_alert_is_started() -> None:
    """The order needs attention as ever."""
    async with handoff() as world, world.working():
        world.erp.faults.reject = 1
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.ATTENTION)
        await world.order(record).signal("retry")
        await world.until_written_back(record)
        (need,) = await _needs(world, record)
        with pytest.raises(RPCError, match="not found"):
            await world.client.get_workflow_handle(names.alert_workflow_id(need.id)).describe()


async def _needs(world: Handoff, record: RecordId) -> list[Need]:
    """What the order has asked to be alerted, from its own history."""
    history = await world.order(record).fetch_history()
    scheduled = [one.activity_task_scheduled_event_attributes for one in history.events]
    inputs = [one.input.payloads[0] for one in scheduled if one.activity_type.name == "raise_alert"]
    return [Need.model_validate_json(payload.data) for payload in inputs]
