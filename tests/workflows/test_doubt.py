"""What the order workflow must not take for known: lost answers, decisions that were made, orders of people."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio.testing import WorkflowEnvironment

from activities.erp import NothingNewError
from closedwon.erp.base import UnknownError
from closedwon.errors import AttentionReason
from closedwon.model.erp import KEPT_UNQUALIFIED, ErpOrder, ErpStatus
from closedwon.model.erp_calls import ErpResult, Resolved
from closedwon.model.routes import Following, Policies
from closedwon.model.snapshot import NotWanted, RecordSnapshot, Wanted
from closedwon.names import OrderStage
from tests.support.world import World, erp_order, order_of, running

_FOLLOW = Following(
    initial_interval=timedelta(minutes=1), maximum_interval=timedelta(days=1), follow_for=timedelta(days=200)
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
        self.has_agreed: list[bool] = []
        """Of each call: whether the order is said to have agreed with the record once."""
        self._policies = Policies(follow=_FOLLOW, **policies)
        world.load, world.create, world.follow = self.load, self.create, _nothing_new

    async def load(self, _request: object) -> RecordSnapshot:
        if self.is_won:
            order = order_of(self.world.record, quantity=self.quantity)
            return Wanted(order=order, erp="stub", policies=self._policies)
        return NotWanted(erp="stub", number="SO-1", may_have_order=True, policies=self._policies)

    async def create(self, request: Any) -> ErpResult:
        self.asked.append((str(request.order.amount), request.reopen, request.check_since is not None))
        self.has_agreed.append(request.has_agreed)
        return _versioned(erp_order(ErpStatus.CONFIRMED, amount=str(request.order.amount)))


async def test_a_deal_that_goes_back_after_a_lost_change_is_compared_again(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The change may have been committed: what the order was made for before is not taken for what the ERP has."""
    async with running(temporal_server.client) as world:
        deal = _Deal(world, on_changed="amend")
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


async def test_what_an_order_was_before_it_may_have_been_cancelled_proves_nothing(
    temporal_server: WorkflowEnvironment,
) -> None:
    """`on_changed = "ignore"` leaves an order that agreed once; a reopened one is made of what is asked now."""
    async with running(temporal_server.client) as world:
        deal = _Deal(world, on_changed="ignore", on_unqualified="cancel")
        handle = await world.notify(follow=_FOLLOW)
        await world.until_stage(OrderStage.FOLLOWING)
        deal.quantity = "5"
        await world.notify("changed", follow=_FOLLOW)
        await world.until(lambda: len(deal.asked) == 2)

        async def lose(_request: Any) -> Any:
            raise UnknownError("the reply was lost", retry_after=_LATER)

        world.cancel, deal.is_won = lose, False
        await world.notify("reopened", follow=_FOLLOW)
        await world.until(lambda: "cancel" in world.calls)
        deal.is_won = True
        await world.notify("won again", follow=_FOLLOW)
        await world.until(lambda: len(deal.asked) == 3)
        await handle.terminate()

    assert [False, True, False] == deal.has_agreed


async def test_a_version_does_not_fence_a_write_that_nothing_has_followed(
    temporal_server: WorkflowEnvironment,
) -> None:
    """A cancellation without an answer still carries the present version: the order is looked at once more."""
    async with running(temporal_server.client) as world:
        deal = _Deal(world, on_unqualified="cancel")
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
        deal = _Deal(world, on_changed="amend")

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


async def _lost(_request: object) -> Any:
    raise UnknownError("the reply was lost", retry_after=_LATER)


async def test_an_order_that_is_kept_is_looked_at_again_after_a_lost_cancel(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The cancellation may still take effect: once it has, the order needs attention of the person who keeps it."""
    async with running(temporal_server.client) as world:
        policy = "cancel"

        async def load(_request: object) -> RecordSnapshot:
            return NotWanted(erp="stub", number="SO-1", may_have_order=True, policies=Policies(on_unqualified=policy))

        async def find(request: Any) -> ErpOrder:
            return erp_order(ErpStatus.CONFIRMED if request.check_since is None else ErpStatus.CANCELLED)

        world.load, world.find, world.cancel = load, find, _lost
        handle = await world.notify()
        await world.until(lambda: "cancel" in world.calls)
        policy = "attention"
        await world.notify("again")
        await world.until_stage(OrderStage.ATTENTION)
        await handle.signal("retry")
        await world.until(lambda: len(world.needs) == 2)
        assert [KEPT_UNQUALIFIED] == [request.status for request in world.written if request.error is None]
        world.find = _answer(erp_order(ErpStatus.CONFIRMED))  # somebody took it back in the ERP
        await handle.signal("retry")
        outcome = await handle.result()

    assert (OrderStage.COMPLETED, True) == (outcome.stage, outcome.kept_by_operator)
    assert [AttentionReason.NO_LONGER_QUALIFIES, AttentionReason.UNKNOWN_ORDER] == [need.reason for need in world.needs]


async def test_an_order_is_not_cancelled_for_a_doubt_that_no_policy_applies_to(
    temporal_server: WorkflowEnvironment,
) -> None:
    """After a lost change the record no longer qualifies, and its order is left as it is: it is only looked at."""
    async with running(temporal_server.client) as world:
        deal = _Deal(world, on_changed="amend", on_unqualified="ignore")
        world.create, world.find = _lost, _answer(erp_order(ErpStatus.CONFIRMED))
        handle = await world.notify()
        await world.until(lambda: "create" in world.calls)
        deal.is_won = False
        await world.notify("reopened")
        outcome = await handle.result()

    assert ("find", 0) == (world.calls[-1], world.calls.count("cancel"))
    assert outcome.order is not None


def _answer(order: ErpOrder) -> Any:
    async def answer(_request: object) -> ErpOrder:
        return order

    return answer
