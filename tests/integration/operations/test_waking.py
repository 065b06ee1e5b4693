"""`retry` of orders that only wait for their ERP: the next attempt happens now, and no history is added."""

from __future__ import annotations

from closedwon.ids import RecordId
from closedwon.model.commands import Command
from closedwon.model.erp_calls import ErpResult
from closedwon.operations import orders
from closedwon.operations.orders import CommandOutcome, CommandReply
from tests.support.audit import assert_clean
from tests.support.breaker import Outage
from tests.support.cost import billed_actions
from tests.support.handoff import Handoff, handoff, until
from tests.support.pile import until_failed, with_long_intervals


async def _retry(world: Handoff, *records: RecordId, why: str | None = None) -> list[CommandReply]:
    ids = [world.order(record).id for record in records]
    sending = orders.send(
        world.client, ids, "retry", Command(by="ada@desk", reason=why), rate=100, routes=world.settings.routes
    )
    return [reply async for reply in sending]


async def _attempts_of_create(world: Handoff, record: RecordId) -> int:
    events = (await world.order(record).fetch_history()).events
    creates = {
        event.event_id
        for event in events
        if event.activity_task_scheduled_event_attributes.activity_id == "create-order"
    }
    (attempt,) = [
        event.activity_task_started_event_attributes.attempt
        for event in events
        if event.activity_task_started_event_attributes.scheduled_event_id in creates
    ]
    return attempt


async def _result_of_create(world: Handoff, record: RecordId) -> ErpResult:
    events = (await world.order(record).fetch_history()).events
    creates = {
        event.event_id
        for event in events
        if event.activity_task_scheduled_event_attributes.activity_id == "create-order"
    }
    (result,) = [
        event.activity_task_completed_event_attributes.result
        for event in events
        if event.activity_task_completed_event_attributes.scheduled_event_id in creates
    ]
    (decoded,) = await world.client.data_converter.decode(result.payloads, [ErpResult])
    assert isinstance(decoded, ErpResult)
    return decoded


async def test_retry_after_an_outage_adds_no_event_and_reads_nothing_again() -> None:
    """Each order ends with as many events, and with as many Salesforce calls, as if its ERP had never been away."""
    async with handoff() as world, with_long_intervals(world).working(subscriber=False):
        world.org.seed(11)
        (usual,) = await world.win(1)
        await world.until_written_back(usual)
        await world.order(usual).result()
        events = (await world.order(usual).describe()).history_length
        outage = Outage(world)
        await outage.begin()
        won = await world.win(10)
        await until_failed(world, won)
        salesforce = world.connections.salesforce[world.org.org_id]
        calls = salesforce.calls
        await outage.end()

        replies = await _retry(world, *won)

        assert {CommandOutcome.WOKEN} == {reply.outcome for reply in replies}
        await world.until_written_back(*won)
        for record in won:
            await world.order(record).result()
            history = await world.order(record).fetch_history()
            assert events == len(history.events)
            assert 5 == billed_actions(history)  # and perhaps one for the changed retry policy
        assert salesforce.calls - calls <= 10  # the write-backs
        assert_clean(await world.audit(), won=11)


async def test_a_write_without_an_answer_stays_in_doubt_after_a_retry() -> None:
    """The next attempt keeps its number, so it believes what the one before stated; there is one order."""
    async with handoff() as world, with_long_intervals(world).working(subscriber=False):
        world.org.seed(1)
        world.erp.faults.hold, world.erp.faults.hold_for = 1, 3600
        (record,) = await world.win(1)
        await until_failed(world, [record])
        assert (1, []) == (world.erp.held, world.erp.orders())

        (reply,) = await _retry(world, record)

        assert CommandOutcome.WOKEN is reply.outcome
        await world.until_written_back(record)
        await world.order(record).result()
        world.erp.faults.hold_for = 0
        await until(lambda: world.erp.held == 0)
        assert 1 == len(world.erp.orders())
        assert 2 == await _attempts_of_create(world, record)
        assert (await _result_of_create(world, record)).in_doubt_since is not None
        assert_clean(await world.audit(), won=1)


async def test_an_order_gets_the_command_where_its_next_attempt_is_not_enough() -> None:
    """A reason belongs into its timeline; an order whose route names another ERP by now is read again."""
    async with handoff() as world, with_long_intervals(world).working(subscriber=False):
        world.org.seed(3)
        outage = Outage(world)
        await outage.begin()
        explained, moved, unknown = won = await world.win(3)
        await until_failed(world, won)
        await outage.end()

        (reply,) = await _retry(world, explained, why="the ERP is back")
        assert CommandOutcome.ACCEPTED is reply.outcome
        elsewhere = world.settings.routes[0].model_copy(update={"erp": "another"})
        for record, routes in ((moved, (elsewhere,)), (unknown, ())):
            sending = orders.send(
                world.client, [world.order(record).id], "retry", Command(by="ada@desk"), rate=100, routes=routes
            )
            assert [CommandOutcome.ACCEPTED] == [reply.outcome async for reply in sending]
        await world.until_written_back(*won)
