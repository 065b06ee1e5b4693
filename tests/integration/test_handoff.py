"""From a won deal to the number in Salesforce, on real parts: duplicate, late, wrong and missing events."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from closedwon import names
from closedwon.emulators.salesforce.config import OrgConfig, ValidationRule
from closedwon.emulators.salesforce.server import SalesforceEmulator
from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.model.messages import Message
from closedwon.model.order_state import OrderStart
from closedwon.model.routes import Channel
from closedwon.model.sweeps import GapReason
from closedwon.names import OrderStage
from closedwon.temporal.channels import channel_state
from closedwon.temporal.orders import start_order
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS
from tests.support.audit import assert_clean
from tests.support.handoff import CHANNEL, Handoff, handoff, until
from tests.support.servers import start_temporal
from workflows.subscription import SubscriptionWorkflow


def _event(org: SalesforceEmulator, record: str, number: int = 0, **payload: object) -> dict[str, object]:
    created = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    ids = {"Opportunity_Id__c": record, "Organization_Id__c": org.org_id}
    return {
        "schema": "s",
        "payload": {"CreatedDate": created, "CreatedById": "005", **ids, **payload},
        "event": {"EventUuid": f"00000000-0000-4000-8000-{number:012d}"},
    }


async def _reason(world: Handoff, query: str) -> str | None:
    async for execution in world.client.list_workflows(query):
        return execution.typed_search_attributes.get(SEARCH_ATTRIBUTE_KEYS[names.ATTENTION_REASON])
    return None


STREAMS = pytest.mark.parametrize("stream", ["cometd", "pubsub"])


@STREAMS
async def test_won_deals_become_orders_and_their_numbers_come_back(stream: str) -> None:
    """Twenty deals: twenty orders, each number on its own record, amounts equal."""
    async with handoff(stream=stream) as world, world.working():
        world.org.seed(20)
        won = world.org.win_next(20)
        await world.until_written_back(*won)
        await asyncio.gather(*(world.order(record).result() for record in won))

        assert_clean(await world.audit(), won=20)
        for order in world.erp.orders():
            record = order["idempotency_key"].partition(":")[2]
            assert float(order["amount"]) == world.org.get("Opportunity", record)["Amount"]


async def test_one_event_fifty_times_in_parallel_makes_one_order() -> None:
    """All starts share one workflow ID, so at-least-once delivery is harmless."""
    async with handoff() as world, world.working(subscriber=False):
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        start = OrderStart(org=world.org.org_id, record=record, route="won-0")
        await asyncio.gather(
            *(
                start_order(
                    world.client,
                    start,
                    Message(id=f"m-{number}", channel=Channel.PLATFORM_EVENT, received_at=datetime.now(UTC)),
                )
                for number in range(50)
            )
        )
        await world.order(record).result()

        assert 1 == len(world.erp.orders())


async def test_the_short_and_the_long_id_of_a_record_make_one_order() -> None:
    """15 and 18 characters name the same record."""
    async with handoff(orgs=None) as world, world.working():
        world.org.seed(2)
        first, last = world.org.win_next(2)
        await world.until_written_back(first, last)
        world.org.publish_raw(CHANNEL, _event(world.org, first.short, 1))
        world.org.publish_raw(CHANNEL, _event(world.org, first, 2))
        world.org.publish_raw(CHANNEL, _event(world.org, "not an id", 3))
        await until(
            lambda: _is_reason(world, AttentionReason.INVALID_MESSAGE)
        )  # the two before it are workflows by now
        await world.order(first).result()

        assert 2 == len(world.erp.orders())


async def _is_reason(world: Handoff, reason: AttentionReason) -> bool:
    return await _reason(world, f"WorkflowType = '{names.UNPARSEABLE_MESSAGE_WORKFLOW}'") == reason


async def test_the_same_record_id_in_two_orgs_makes_two_orders() -> None:
    """A sandbox is a copy that keeps its record ids, yet it is another org."""
    async with (
        SalesforceEmulator.running() as one,
        SalesforceEmulator.running() as other,
        handoff(orgs=[one, other], source="event") as world,
        world.working(),
    ):
        one.seed(1)
        (record,) = one.win_next(1)
        await until(lambda: len(world.erp.orders()) == 1)
        other.publish_raw(CHANNEL, _event(other, record, 7, Payload__c=_deal_json(record)))
        await until(lambda: len(world.erp.orders()) == 2)

        keys = {order["idempotency_key"] for order in world.erp.orders()}
        assert {f"{one.org_id}:{record}", f"{other.org_id}:{record}"} == keys


def _deal_json(record: str) -> str:
    line = '{"Product2": {"ProductCode": "GC1040"}, "Quantity": 2.0, "UnitPrice": 5000.0}'
    return (
        f'{{"Id": "{record}", "Name": "Copy", "IsWon": true, "Amount": 10000.0, "CurrencyIsoCode": "EUR", '
        f'"Account": {{"Id": "001000000000001AAA", "Name": "Edge"}}, "OpportunityLineItems": {{"records": [{line}]}}}}'
    )


async def test_a_write_back_starts_no_other_order() -> None:
    """Neither the numbers nor a new stage publish an event that would order again."""
    async with handoff(write_back={"number": "ERP_Order_Number__c", "stage": "Ordered"}) as world, world.working():
        world.org.seed(3)
        won = world.org.win_next(3)
        await world.until_written_back(*won)
        await asyncio.gather(*(world.order(record).result() for record in won))

        assert {"Ordered"} == {world.org.get("Opportunity", record)["StageName"] for record in won}
        assert 3 == world.org.bus.published
        assert 3 == len(world.erp.orders())


async def test_a_second_notification_without_a_change_writes_nothing() -> None:
    """A second notification of a finished deal costs one read and no write."""
    async with handoff() as world, world.working():
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await world.until_written_back(record)
        await world.order(record).result()
        written_at = world.org.get("Opportunity", record)["SystemModstamp"]
        world.org.publish_raw(CHANNEL, _event(world.org, record, 1))

        async def second_run_is_over() -> bool:
            runs = [e async for e in world.client.list_workflows(f"WorkflowId = '{world.order(record).id}'")]
            return len(runs) == 2 and all(run.close_time for run in runs)

        await until(second_run_is_over)

        assert written_at == world.org.get("Opportunity", record)["SystemModstamp"]
        assert 1 == len(world.erp.orders())


async def test_a_record_that_is_not_visible_yet_is_waited_for() -> None:
    """Publish immediately: the event overtakes its own record by a second or two."""
    async with handoff() as world, world.working():
        world.org.seed(1)
        world.org.faults.read_lag_seconds = 2.0
        (record,) = world.org.win_next(1)
        await world.until_written_back(record)

        assert OrderStage.COMPLETED is (await world.order(record).result()).stage


async def test_a_record_that_never_qualifies_is_not_needed_after_the_grace_period() -> None:
    """An event about an open deal ends as `not-needed`, without an order."""
    async with handoff(grace=timedelta(seconds=1)) as world, world.working():
        (record,) = world.org.seed(1)[:1]
        world.org.publish_raw(CHANNEL, _event(world.org, record))
        await until(lambda: _has_ended(world, record))

        assert OrderStage.NOT_NEEDED is (await world.order(record).result()).stage
        assert [] == world.erp.orders()


async def _has_ended(world: Handoff, record: RecordId) -> bool:
    return await world.stage(record) == OrderStage.NOT_NEEDED


async def test_a_route_may_take_everything_from_the_event() -> None:
    """With source = "event" no read is made; the payload is complete."""
    async with handoff(source="event") as world, world.working():
        world.org.seed(2)
        won = world.org.win_next(2)
        await world.until_written_back(*won)
        queries = sum(calls for path, calls in world.org.api_calls.items() if "query" in path)

        assert 2 == len(world.erp.orders())
        assert 0 == queries


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        ({"schema": "s", "payload": {"Other__c": "x"}, "event": {}}, "no record id"),
        ({"schema": "s", "payload": {"Opportunity_Id__c": "006000000000001AAB"}, "event": {}}, "a wrong checksum"),
        ({"schema": "s", "payload": {"Opportunity_Id__c": 7}}, "a number for an id"),
        ({"schema": "s", "payload": {"Opportunity_Id__c": "001000000000001AAA"}}, "the id of an account"),
        (
            {"payload": {"Opportunity_Id__c": "006000000000001AAA", "Organization_Id__c": "00D000000000002EAA"}},
            "another org",
        ),
        ({"payload": {"Opportunity_Id__c": "006000000000001AAA"}}, "no org where one is asked for"),
        ({"schema": "s"}, "no payload"),
        ({"payload": ["not", "an", "object"]}, "a payload of the wrong shape"),
    ],
)
async def test_an_event_that_cannot_be_parsed_is_kept_and_stops_nothing(raw: dict[str, object], what: str) -> None:
    """It becomes a workflow that needs attention and holds the raw event; the next event is handled as usual."""
    async with handoff() as world, world.working():
        world.org.seed(1)
        world.org.publish_raw(CHANNEL, raw)
        (record,) = world.org.win_next(1)
        await world.until_written_back(record)
        await until(lambda: _is_reason(world, AttentionReason.INVALID_MESSAGE))
        query = f"WorkflowType = '{names.UNPARSEABLE_MESSAGE_WORKFLOW}'"
        kept = [execution async for execution in world.client.list_workflows(query)]

        assert 1 == len(kept), what
        assert OrderStage.ATTENTION == kept[0].typed_search_attributes.get(SEARCH_ATTRIBUTE_KEYS[names.ORDER_STAGE])


async def test_bytes_that_cannot_be_decoded_are_kept_and_stop_nothing() -> None:
    """An event of the Pub/Sub API that its schema does not fit is kept with its bytes; the next one is handled."""
    async with handoff(stream="pubsub") as world, world.working():
        world.org.seed(1)
        world.org.publish_raw(CHANNEL, {"schema": "s", "payload": "text"})
        (record,) = world.org.win_next(1)
        await world.until_written_back(record)
        await until(lambda: _is_reason(world, AttentionReason.INVALID_MESSAGE))

        assert 1 == len(world.erp.orders())


async def test_a_kept_event_is_read_again_on_retry() -> None:
    """Once the route is corrected, `retry` makes the order."""
    async with handoff(record_id="Wrong__c") as world:
        async with world.working():
            world.org.seed(1)
            (record,) = world.org.win_next(1)
            await until(lambda: _is_reason(world, AttentionReason.INVALID_MESSAGE))
        route = world.settings.routes[0].model_copy(update={"record_id": "Opportunity_Id__c"})
        world.settings = world.settings.model_copy(update={"routes": (route,)})
        async with world.working():
            async for kept in world.client.list_workflows(f"WorkflowType = '{names.UNPARSEABLE_MESSAGE_WORKFLOW}'"):
                handle = world.client.get_workflow_handle(kept.id)
                await handle.signal("retry")
                assert OrderStage.COMPLETED == await handle.result()
            await world.until_written_back(record)

        assert 1 == len(world.erp.orders())


async def _has_position(world: Handoff) -> bool:
    cursor = (await channel_state(world.client, world.org.org_id, CHANNEL)).cursor
    return cursor is not None and cursor.count > 0


@STREAMS
async def test_a_forgotten_position_opens_a_gap_and_reading_goes_on_from_the_earliest_event(stream: str) -> None:
    """The bus has moved: the retained events are read, and a gap says what may be missing."""
    async with handoff(stream=stream) as world:
        async with world.working():
            world.org.seed(3)
            first = world.org.win_next(1)
            await world.until_written_back(*first)
            await until(lambda: _has_position(world))
            world.org.move_bus()
            more = world.org.win_next(2)
            await world.until_written_back(*more)
            subscription = world.client.get_workflow_handle(names.subscription_workflow_id(world.org.org_id, CHANNEL))
            gaps = await subscription.query(SubscriptionWorkflow.gaps)

        assert 1 == len(gaps)
        assert gaps[0].since is not None
        assert GapReason.BUS_MOVED == gaps[0].reason
        assert "cannot be read from replay id" in gaps[0].note
        assert 3 == len(world.erp.orders())


async def test_a_validation_rule_in_salesforce_needs_attention_and_retry_writes_back() -> None:
    """The order exists; only its number cannot be written until an administrator corrects the rule."""
    rule = ValidationRule(on="Opportunity", when="ERP_Order_Number__c != null", message="Ask the sales desk first.")
    async with (
        SalesforceEmulator.running(config=OrgConfig(validation_rules=(rule,))) as org,
        handoff(orgs=[org]) as world,
        world.working(),
    ):
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.ATTENTION)
        reason = await world.reason(record)
        org.records._config = OrgConfig()
        await world.order(record).signal("retry")
        outcome = await world.order(record).result()

        assert AttentionReason.SALESFORCE_VALIDATION == reason
        assert OrderStage.COMPLETED is outcome.stage
        assert world.erp.orders()[0]["number"] == world.number_of(record)


async def test_an_unknown_product_needs_attention_and_the_record_shows_why() -> None:
    """The record shows the salesperson why there is no order; the text is removed when the order exists."""
    async with handoff() as world, world.working():
        world.org.seed(1)
        world.erp.faults.unknown_products = frozenset({"GC1040", "GC3020", "SL9080"})
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.ATTENTION)
        await until(lambda: bool(world.org.get("Opportunity", record)["ERP_Order_Error__c"]))
        reason = await world.reason(record)
        world.erp.faults.unknown_products = frozenset()
        await world.order(record).signal("retry")
        await world.order(record).result()

        assert AttentionReason.UNKNOWN_PRODUCT == reason
        assert world.number_of(record)
        assert world.org.get("Opportunity", record)["ERP_Order_Error__c"] is None


async def test_a_cancelled_deal_is_not_ordered_by_a_late_duplicate() -> None:
    """After a cancel, the bus delivers the event again: no order is made."""
    async with handoff() as world, world.working():
        world.org.seed(1)
        world.erp.faults.down = True
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.ORDERING)
        await world.order(record).signal("cancel", "the customer changed their mind")
        world.erp.faults.down = False
        assert OrderStage.CANCELLED is (await world.order(record).result()).stage
        world.org.publish_raw(CHANNEL, _event(world.org, record, 1))
        await until(lambda: _has_ended(world, record))

        assert [] == [order for order in world.erp.orders() if order["status"] != "cancelled"]


async def test_a_deal_that_was_changed_after_it_was_ordered_needs_attention_and_keeps_its_number() -> None:
    """There is no second order; the record shows the difference, and keeps the number that is known."""
    async with handoff() as world, world.working():
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await world.until_written_back(record)
        await world.order(record).result()
        number = world.number_of(record)
        (line, *_) = world.org.query(f"SELECT Id FROM OpportunityLineItem WHERE OpportunityId = '{record}'")  # noqa: S608 - SOQL
        world.org.update("OpportunityLineItem", line["Id"], UnitPrice=1.0)
        world.org.publish_raw(CHANNEL, _event(world.org, record, 1))
        await until(lambda: bool(world.org.get("Opportunity", record)["ERP_Order_Error__c"]))
        reason = await world.reason(record)

        assert AttentionReason.AMOUNT_DIFFERS == reason
        assert number == world.number_of(record)
        assert "needs attention" == world.org.get("Opportunity", record)["ERP_Order_Status__c"]
        assert 1 == len(world.erp.orders())


@STREAMS
async def test_the_cursor_is_handed_through_the_workflow_and_through_a_new_run(stream: str) -> None:
    """A reader that ends hands its position over; so does a workflow run whose history has grown."""
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 20}
    async with await start_temporal(**limit) as server, handoff(temporal_server=server, stream=stream) as world:
        subscriber = world.settings.subscriber.model_copy(update={"handover": timedelta(milliseconds=300)})
        world.settings = world.settings.model_copy(update={"subscriber": subscriber})
        async with world.working():
            world.org.seed(30)
            subscription = world.client.get_workflow_handle(names.subscription_workflow_id(world.org.org_id, CHANNEL))
            first_run = (await subscription.describe()).run_id
            won: list[RecordId] = []

            async def is_another_run() -> bool:
                won.extend(world.org.win_next(1))
                return (await subscription.describe()).run_id != first_run

            await until(is_another_run)
            won.extend(world.org.win_next(1))
            await world.until_written_back(*won)

            async def has_all() -> bool:
                cursor = await subscription.query(SubscriptionWorkflow.cursor)
                return cursor.count == len(won)

            await until(has_all)

        assert len(won) == len(world.erp.orders())
