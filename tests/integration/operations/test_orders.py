"""Sending commands to many orders: at a pace, and with an answer for each."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    StartWorkflowUpdateInput,
    WorkflowUpdateHandle,
)
from temporalio.service import RPCError, RPCStatusCode

from closedwon.ids import RecordId
from closedwon.model.commands import Command
from closedwon.names import OrderStage, order_workflow_id
from closedwon.operations import orders
from closedwon.operations.orders import CommandOutcome, Selection
from tests.support.handoff import handoff


async def test_an_order_that_has_ended_meanwhile_is_gone_and_the_rest_get_the_command() -> None:
    """The list is older than the sending: an order that has ended by itself is not an error."""
    async with handoff() as world, world.working():
        world.org.seed(2)
        (done,) = world.org.win_next(1)
        await world.until_written_back(done)
        await world.order(done).result()
        world.erp.faults.reject = 1
        (waits,) = world.org.win_next(1)
        await world.until_stage(waits, OrderStage.ATTENTION)

        ids = [order_workflow_id(world.org.org_id, record) for record in (done, waits, RecordId("006000000000001"))]
        answers = [answer async for answer in orders.send(world.client, ids, "retry", Command(by="ada@desk"), rate=100)]

        assert {ids[0]: CommandOutcome.GONE, ids[1]: CommandOutcome.ACCEPTED, ids[2]: CommandOutcome.GONE} == {
            answer.workflow_id: answer.outcome for answer in answers
        }
        assert OrderStage.COMPLETED is (await world.order(waits).result()).stage


class _Busy(Interceptor, OutboundInterceptor):
    """A Temporal that ends each update, as it does when a workflow task times out on a busy machine."""

    def __init__(self) -> None:
        self.refused = 0

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's name
        OutboundInterceptor.__init__(self, next)
        return self

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:  # noqa: A002
        self.refused += 1
        raise RPCError(f"Workflow Update {input.update} was aborted.", RPCStatusCode.UNAVAILABLE, b"")


async def test_a_command_whose_answer_is_cut_off_is_sent_as_a_signal() -> None:
    """An update is not kept by a busy Temporal; a signal is. The command is sent, and not an error."""
    busy = _Busy()
    async with handoff() as world, world.working():
        world.org.seed(1)
        world.erp.faults.reject = 1
        (waits,) = world.org.win_next(1)
        await world.until_stage(waits, OrderStage.ATTENTION)
        client = Client(world.client.service_client, data_converter=world.client.data_converter, interceptors=[busy])
        (reply,) = [
            one async for one in orders.send(client, [world.order(waits).id], "retry", Command(by="ada@desk"), rate=9)
        ]
        assert (1, CommandOutcome.SENT) == (busy.refused, reply.outcome)
        assert OrderStage.COMPLETED is (await world.order(waits).result()).stage


async def test_commands_leave_at_the_pace_that_was_asked_for() -> None:
    """Twenty at ten a second take two seconds, less the first, at least."""
    async with handoff() as world:
        ended = [order_workflow_id(world.org.org_id, RecordId(f"006{number:012d}")) for number in range(20)]
        began = time.monotonic()
        sending = orders.send(world.client, ended, "retry", Command(by="ada@desk"), rate=10)
        answers = Counter([answer.outcome async for answer in sending])
        assert {CommandOutcome.GONE: 20} == answers
        assert time.monotonic() - began > 1.8


async def test_a_selection_means_unfinished_orders_only() -> None:
    """A route's name with a quote in it does not end the filter."""
    async with handoff() as world, world.working():
        world.org.seed(1)
        (done,) = world.org.win_next(1)
        await world.until_written_back(done)
        await world.order(done).result()
        assert [] == await orders.find(world.client, Selection(), "retry")
        assert [] == await orders.find(world.client, Selection(route="it's", stage=OrderStage.COMPLETED), "skip")
