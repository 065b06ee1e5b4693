"""`closedwon orders`: the stage of each order, as an operator reads it."""

from __future__ import annotations

from pathlib import Path

from temporalio.common import SearchAttributePair, TypedSearchAttributes

from closedwon import names
from closedwon.ids import RecordId
from closedwon.names import OrderStage
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS
from tests.support.command import closedwon
from tests.support.encryption import fresh_key, keyed, settings_file
from tests.support.handoff import CHANNEL, Handoff, handoff, until

_MESSAGE = "00000000-0000-4000-8000-000000000001"


async def test_the_list_has_stage_number_and_reason_and_show_has_the_timeline(tmp_path: Path) -> None:
    """One order is done, one waits for a person: both are found, with whole ids on any terminal, out of ciphertext."""
    async with handoff(encryption=keyed()) as world, world.working():
        config = str(settings_file(tmp_path, world.settings.encryption))
        world.org.seed(2)
        (done,) = world.org.win_next(1)
        await world.until_written_back(done)
        await world.order(done).result()
        world.erp.faults.unknown_products = frozenset({"GC1040", "GC3020", "SL9080"})
        (stuck,) = world.org.win_next(1)
        await world.until_stage(stuck, OrderStage.ATTENTION)
        await world.until_listed(done)

        code, listed = await closedwon(world.client, "orders", "list", CLOSEDWON_CONFIG=config)
        assert 0 == code
        assert done in listed
        assert str(world.org.get("Opportunity", done)["Name"]) in listed
        assert str(world.number_of(done)) in listed
        assert "unknown-product" in listed

        narrow = {"COLUMNS": "40", "CLOSEDWON_CONFIG": config}
        _, waiting = await closedwon(world.client, "orders", "list", "--stage", "attention", **narrow)
        assert stuck in waiting
        assert done not in waiting

        _, refused = await closedwon(
            world.client, "orders", "list", "--reason", "unknown-product", CLOSEDWON_CONFIG=config
        )
        assert stuck in refused
        assert done not in refused

        _, story = await closedwon(world.client, "orders", "show", stuck.short, CLOSEDWON_CONFIG=config)
        assert "Needs attention" in story
        assert "GC" in story
        assert "notification by platform-event" in story

        _, of_the_number = await closedwon(
            world.client, "orders", "show", str(world.number_of(done)), CLOSEDWON_CONFIG=config
        )
        assert done in of_the_number

        stranger = str(settings_file(tmp_path, keyed(fresh_key("other"))))
        _, unread = await closedwon(world.client, "orders", "list", CLOSEDWON_CONFIG=stranger)
        assert f"{done}  completed" in unread
        assert "(its key is not available)" in unread
        assert f"stage completed   order {world.number_of(done)}   route " in of_the_number
        assert stuck not in of_the_number


async def test_whatever_waits_for_a_person_is_in_the_list_of_what_does() -> None:
    """An unparseable message is not an order, but alerts and `top` count it, so the list must show it."""
    async with handoff() as world, world.working():
        world.org.publish_raw(CHANNEL, {"payload": {"Note__c": "no id"}, "event": {"EventUuid": _MESSAGE}})
        message = names.unparseable_message_workflow_id(world.org.org_id, _MESSAGE)
        await until(lambda: _is_open(world, message))
        waiting = await closedwon(world.client, "orders", "list", "--stage", "attention", COLUMNS="40")
        of_this_reason = await closedwon(world.client, "orders", "list", "--reason", "invalid-message")
        of_orders = await closedwon(world.client, "orders", "list")

    assert message in waiting.text
    assert message in of_this_reason.text
    assert message not in of_orders.text


async def _is_open(world: Handoff, workflow_id: str) -> bool:
    return (await world.client.count_workflows(f"WorkflowId = '{workflow_id}'")).count == 1


async def test_an_unknown_record_and_an_invalid_id_are_reported() -> None:
    """Exit codes for scripts, sentences for people."""
    async with handoff() as world:
        unknown, what = await closedwon(world.client, "orders", "show", "006000000000001")
        wrong, why = await closedwon(world.client, "orders", "show", "006000000000001AAB")
        number, none = await closedwon(world.client, "orders", "show", "SO-4711")

        assert 1 == unknown
        assert "has no order" in what
        assert 2 == wrong
        assert "checksum" in why
        assert 1 == number
        assert "SO-4711" in none


async def test_an_order_that_was_terminated_needs_no_attention() -> None:
    """Terminated in Temporal, it keeps its last stage there; the list shows how it ended."""
    async with handoff() as world, world.working():
        world.org.seed(1)
        world.erp.faults.reject = 1
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.ATTENTION)
        await world.order(record).terminate()
        await world.until_listed(record)
        waiting = await closedwon(world.client, "orders", "list", "--stage", "attention")
        listed = await closedwon(world.client, "orders", "list")

    assert record not in waiting.text
    assert (True, False) == ("terminated" in listed.text, "attention" in listed.text)


async def test_an_order_of_another_version_is_listed_and_one_that_is_stuck_is_marked() -> None:
    """An unknown stage and number, and a workflow that no worker can run: no stack trace."""
    async with handoff() as world, world.working(subscriber=False):
        record = RecordId("006000000000001")
        await world.client.start_workflow(
            names.ORDER_WORKFLOW,
            "no input of ours",
            id=names.order_workflow_id(world.org.org_id, record),
            task_queue=names.ORDERS_QUEUE,
            search_attributes=TypedSearchAttributes(
                [
                    SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.SALESFORCE_RECORD_ID], record),
                    SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.ORDER_STAGE], "of-a-later-version"),
                    SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.ERP_ORDER_NUMBER], "[/7]"),
                ]
            ),
        )
        listed = await closedwon(world.client, "orders", "list")
        shown = await closedwon(world.client, "orders", "show", record)

    assert (0, True) == (listed.code, "of-a-later-version  [/7]" in listed.text)
    assert (0, True) == (shown.code, "[/7]" in shown.text and "needs a running worker" in shown.text)
