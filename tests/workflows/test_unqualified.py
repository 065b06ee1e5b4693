"""Deals that no longer qualify: what the workflow asks of which system. The effects are in tests/integration."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from closedwon.erp.base import TooLateError, UnknownError, UnreachableError
from closedwon.errors import AttentionReason
from closedwon.model.erp import CANCELLED_UNQUALIFIED, KEPT_UNQUALIFIED, ErpOrder, ErpStatus
from closedwon.model.erp_calls import ErpResult
from closedwon.model.routes import Policies
from closedwon.model.snapshot import Hidden, NotWanted, RecordSnapshot, Wanted
from closedwon.names import OrderStage
from tests.support.servers import start_temporal
from tests.support.waiting import STALL
from tests.support.world import Held, erp_order, order_of, running


async def test_news_ends_the_waiting_for_the_erp(temporal_server: WorkflowEnvironment) -> None:
    """A deal that is reopened during an outage is not handed over at the next attempt; the ERP is only asked."""
    async with running(temporal_server.client) as world:
        is_won, asked = True, 0

        async def load(_request: object) -> RecordSnapshot:
            return Wanted(order=order_of(world.record), erp="stub") if is_won else NotWanted(erp="stub")

        async def create(_request: object) -> ErpOrder:
            nonlocal asked
            asked += 1
            raise UnreachableError("the ERP is away")

        async def find(_request: object) -> ErpOrder | None:
            return None

        async def cancel(_request: object) -> ErpOrder | None:
            return None

        world.load, world.create, world.find, world.cancel = load, create, find, cancel
        handle = await world.notify()
        await world.until(lambda: asked >= 2)
        is_won = False
        await world.notify("reopened")
        outcome = await handle.result()

    assert OrderStage.NOT_NEEDED is outcome.stage
    assert [] == world.written


@pytest.mark.parametrize("command", ["cancel", "retry"])
async def test_a_person_decides_where_the_route_says_so(temporal_server: WorkflowEnvironment, command: str) -> None:
    """The order is named; `cancel` says in Salesforce that the deal is not won, `retry` that the order is kept."""
    async with running(temporal_server.client) as world:

        async def load(_request: object) -> RecordSnapshot:
            return NotWanted(may_have_order=True, erp="stub", policies=Policies(on_unqualified="attention"))

        async def find(_request: object) -> ErpOrder:
            return erp_order()

        world.load, world.find = load, find
        handle = await world.notify()
        await world.until_stage(OrderStage.ATTENTION)
        await world.until(lambda: bool(world.written))
        await handle.signal(command)
        outcome = await handle.result()

    assert (OrderStage.CANCELLED if command == "cancel" else OrderStage.COMPLETED) is outcome.stage
    assert (CANCELLED_UNQUALIFIED if command == "cancel" else KEPT_UNQUALIFIED) == world.written[-1].status


async def test_a_deal_that_is_won_again_while_its_order_is_cancelled_takes_that_order_up_again(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The same run knows why the order was cancelled, whatever the record's fields say."""
    async with running(temporal_server.client) as world:
        is_won, reopened = False, []

        async def load(_request: object) -> RecordSnapshot:
            if is_won:
                return Wanted(order=order_of(world.record), erp="stub")
            return NotWanted(may_have_order=True, erp="stub", policies=Policies(on_unqualified="cancel"))

        async def cancel(_request: object) -> ErpResult:
            nonlocal is_won
            is_won = True
            await world.notify("won again")
            return ErpResult(order=erp_order(ErpStatus.CANCELLED), has_lived=True)

        async def create(request: Any) -> ErpOrder:
            reopened.append((request.reopen, request.check_since is not None))
            return erp_order()

        world.load, world.cancel, world.create = load, cancel, create
        outcome = await (await world.notify()).result()

    assert OrderStage.COMPLETED is outcome.stage
    assert [(True, False)] == reopened


async def test_a_record_that_is_only_hidden_keeps_its_order(temporal_server: WorkflowEnvironment) -> None:
    """That our user may not see it any more is not a deletion, and the notification is not dropped: a person is asked.

    Once the record is shared again, its order is made.
    """
    async with running(temporal_server.client) as world:

        async def load(_request: object) -> RecordSnapshot:
            return Hidden(erp="stub", policies=Policies(on_unqualified="cancel", on_deleted="cancel"))

        usual, world.load = world.load, load
        handle = await world.notify()
        await world.until(lambda: world.needs)
        assert ["load"] == world.calls
        world.load = usual
        await handle.signal("retry")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert [AttentionReason.RECORD_NOT_FOUND] == [need.reason for need in world.needs]


async def test_a_long_history_does_not_forget_that_a_person_keeps_an_order() -> None:
    """The ERP was too late to cancel and could do so by now; what was decided holds in the new run, too."""
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 60}
    async with await start_temporal(**limit) as server, running(server.client) as world, asyncio.timeout(STALL):
        is_down = False

        async def load(_request: object) -> RecordSnapshot:
            if is_down:
                raise UnknownError("Salesforce is down", retry_after=timedelta(days=1))
            return NotWanted(may_have_order=True, erp="stub", policies=Policies(on_unqualified="cancel"))

        async def cancel(_request: object) -> Any:
            if is_down:
                return erp_order(ErpStatus.CANCELLED)
            raise TooLateError("it is processed")

        async def find(_request: object) -> Any:
            return erp_order()

        world.load, world.cancel, world.find = load, cancel, find
        handle = await world.notify()
        await world.until_stage(OrderStage.ATTENTION)
        await world.until(lambda: len(world.written) == 1)
        is_down = True
        await handle.signal("retry")
        await world.until(lambda: world.calls.count("load") == 2)
        first = (await handle.describe()).run_id
        await asyncio.gather(*(world.notify(f"m-{number}") for number in range(100)))
        await world.until(lambda: _is_another(handle, first))
        world.load = _no_longer_qualifying
        with suppress(RPCError):  # the new run may have read it already, and be done
            await handle.signal("retry")
        outcome = await handle.result()

    assert (OrderStage.COMPLETED, True) == (outcome.stage, outcome.kept_by_operator)
    assert 1 == world.calls.count("cancel")


async def _no_longer_qualifying(_request: object) -> RecordSnapshot:
    return NotWanted(may_have_order=True, erp="stub", policies=Policies(on_unqualified="cancel"))


async def _is_another(handle: WorkflowHandle[Any, Any], run: str | None) -> bool:
    return (await handle.describe()).run_id != run


async def test_an_order_whose_cancellation_was_not_answered_is_taken_up_again_when_the_deal_is_won_again(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The ERP may have cancelled it for us although the reply was lost: no person decided against the deal."""
    async with running(temporal_server.client) as world:
        is_won, asked, reopened = False, 0, []

        async def load(_request: object) -> RecordSnapshot:
            if is_won:
                return Wanted(order=order_of(world.record), erp="stub")
            return NotWanted(may_have_order=True, erp="stub", policies=Policies(on_unqualified="cancel"))

        async def cancel(_request: object) -> ErpOrder:
            nonlocal asked
            asked += 1
            raise UnknownError("the reply was lost")

        async def create(request: Any) -> ErpOrder:
            reopened.append((request.reopen, request.check_since is not None))
            return erp_order()

        world.load, world.cancel, world.create = load, cancel, create
        handle = await world.notify()
        await world.until(lambda: asked >= 2)
        is_won = True
        await world.notify("won again")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert [(True, False), (True, True)] == reopened  # once more when a late cancel can no longer come


async def test_a_new_run_knows_that_the_erp_may_have_an_order_which_the_record_does_not_show() -> None:
    """Its creation was never answered, the history grew long, and then the deal is reopened: the ERP is asked.

    The request says that the attempt may still take effect there.
    """
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 40}
    async with await start_temporal(**limit) as server, running(server.client) as world:
        asked = 0
        unanswered: list[datetime | None] = []

        async def create(_request: object) -> ErpOrder:
            nonlocal asked
            asked += 1
            raise UnknownError("the reply was lost")

        async def load_unqualified(_request: object) -> RecordSnapshot:
            return NotWanted(erp="stub", policies=Policies(on_unqualified="cancel"))

        async def cancel(request: Any) -> ErpOrder:
            unanswered.append(request.unanswered_at)
            return erp_order(ErpStatus.CANCELLED)

        world.create, world.cancel = create, cancel
        handle = await world.notify()
        await world.until(lambda: asked >= 1)
        world.load = blocked = Held(Wanted(order=order_of(world.record), erp="stub"))
        await world.notify("m-0")
        await blocked.started.wait()
        for number in range(40):
            await world.notify(f"more-{number}")
        world.load = load_unqualified
        blocked.go_on.set()
        outcome = await handle.result()

    assert [True] == [at is not None for at in unanswered]
    assert OrderStage.CANCELLED is outcome.stage
