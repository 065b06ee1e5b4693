"""What the order workflow must not take for known: lost answers, decisions that were made, orders of people."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio.testing import WorkflowEnvironment

from activities.erp import ErpResult, NothingNewError, Resolved
from closedwon.erp.base import UnknownError
from closedwon.model import ErpOrder, ErpStatus, Following, Policies
from closedwon.names import OrderStage
from closedwon.snapshot import NotWanted, RecordSnapshot, Wanted
from tests.support.world import World, erp_order, order_of, running

_FOLLOW = Following(
    first_interval=timedelta(minutes=1), longest_interval=timedelta(days=1), horizon=timedelta(days=200)
)
_LATER = timedelta(days=2)


async def _nothing_new(_request: object) -> Any:
    raise NothingNewError("as it was")


def _versioned(order: ErpOrder) -> ErpResult:
    return ErpResult(order=order.model_copy(update={"version": "7"}))


class _Deal:
    """A deal that a test changes, with an ERP that answers with what it was asked for, in version 7."""

    def __init__(self, world: World, **policies: Any) -> None:
        self.world = world
        self.quantity, self.is_won = "2", True
        self.asked: list[tuple[str, bool, bool]] = []
        """Of each call: the amount, whether it may reopen, whether it is the look after a doubt."""
        self._policies = Policies(follow=_FOLLOW, **policies)
        world.load, world.create, world.follow = self.load, self.create, _nothing_new

    async def load(self, _request: object) -> RecordSnapshot:
        if self.is_won:
            order = order_of(self.world.record, quantity=self.quantity)
            return Wanted(order=order, erp="light", policies=self._policies)
        return NotWanted(erp="light", number="SO-1", may_have_order=True, policies=self._policies)

    async def create(self, request: Any) -> ErpResult:
        self.asked.append((str(request.order.amount), request.reopen, request.check_since is not None))
        return _versioned(erp_order(ErpStatus.CONFIRMED, amount=str(request.order.amount)))


async def test_a_deal_that_goes_back_after_a_lost_change_is_compared_again(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The change may have been committed: what the order was made for before is not taken for what the ERP has."""
    async with running(temporal_server.client) as world:
        deal = _Deal(world, changed="amend")
        handle = await world.notify(follow=_FOLLOW)
        await world.until_stage(OrderStage.FOLLOWING)

        async def lose(request: Any) -> Any:
            deal.asked.append((str(request.order.amount), request.reopen, False))
            raise UnknownError("the reply was lost", retry_after=_LATER)

        world.create, deal.quantity = lose, "5"
        await world.notify("changed", follow=_FOLLOW)
        await world.until(lambda: len(deal.asked) == 2)
        world.create, deal.quantity = deal.create, "2"
        await world.notify("changed back", follow=_FOLLOW)
        await world.until(lambda: len(deal.asked) == 4)
        await world.until_stage(OrderStage.FOLLOWING)
        await handle.terminate()

    assert ["10000.00", "25000.00", "10000.00", "10000.00"] == [amount for amount, _, _ in deal.asked]
    assert [False, False, False, True] == [is_check for _, _, is_check in deal.asked]


async def test_a_version_does_not_fence_a_write_that_nothing_has_followed(
    temporal_server: WorkflowEnvironment,
) -> None:
    """A cancellation without an answer still carries the present version: the order is looked at once more."""
    async with running(temporal_server.client) as world:
        deal = _Deal(world, unwon="cancel")
        handle = await world.notify(follow=_FOLLOW)
        await world.until_stage(OrderStage.FOLLOWING)

        async def lose(_request: object) -> Any:
            raise UnknownError("the reply was lost", retry_after=_LATER)

        world.cancel, deal.is_won = lose, False
        await world.notify("reopened", follow=_FOLLOW)
        await world.until(lambda: "cancel" in world.calls)
        deal.is_won = True
        await world.notify("won again", follow=_FOLLOW)
        await world.until(lambda: len(deal.asked) == 3)
        await world.until_stage(OrderStage.FOLLOWING)
        await handle.terminate()

    assert [(False, False), (True, False), (True, True)] == [(reopen, check) for _, reopen, check in deal.asked]


async def test_a_change_after_resolve_is_seen(temporal_server: WorkflowEnvironment) -> None:
    """`resolve` says which order it is, not that every later change of the deal is right."""
    async with running(temporal_server.client) as world:
        deal = _Deal(world, changed="amend")

        async def resolve(_request: object) -> Resolved:
            return Resolved(order=erp_order(ErpStatus.CONFIRMED))

        world.resolve = resolve
        handle = await world.notify(follow=_FOLLOW)
        await world.until_stage(OrderStage.FOLLOWING)
        await handle.execute_update("resolve", "SO-1")
        await world.until(lambda: "resolve" in world.calls)
        deal.quantity = "5"
        await world.notify("changed", follow=_FOLLOW)
        await world.until(lambda: len(deal.asked) == 2)
        await handle.terminate()

    assert ["10000.00", "25000.00"] == [amount for amount, _, _ in deal.asked]
