"""Case I3: deals cloned from one whose order was cancelled or not needed."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from closedwon import names
from closedwon.acceptance import order_start
from closedwon.audit.compare import FindingKind
from closedwon.audit.repair import repair
from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.mapping.record import snapshot
from closedwon.model.messages import Message
from closedwon.model.routes import Channel
from closedwon.model.snapshot import Declined, Wanted
from closedwon.temporal.orders import start_order
from tests.cases.identity import (
    ERPS,
    WITH_KEY,
    WRITTEN,
    deal,
    finding_kinds,
    problem_of,
    snapshot_of,
    stub_world,
)
from tests.support.deals import (
    attention_reason,
    notify,
)
from tests.support.handoff import Handoff, handoff, until
from tests.support.mapping import KEY, OTHER_KEY, example_route, record_of
from tests.support.mapping import deal as fields_of
from tests.support.sweeps import sweep, swept


async def test_i3_an_unproven_status_makes_the_erp_be_asked() -> None:
    """A copied `cancelled` does not decide: what the ERP has under the record's own key does, else a person."""
    async with stub_world() as world:
        mine = deal()

        problem = await problem_of(world.create(mine, unproven_status="cancelled"))

        assert AttentionReason.ORDER_EXISTS is problem.reason
        assert "empty the record's status field" in problem.hint
        assert "`skip`" in problem.hint
        assert [] == world.rows()

        made = (await world.create(mine)).order
        assert made == (await world.create(mine, unproven_status="cancelled")).order


_COPY = {"ERP_Order_Number__c": "SO-1", "ERP_Order_Key__c": OTHER_KEY}


@pytest.mark.parametrize("status", ["cancelled", "not needed", "cancelled, no longer won", "confirmed", None])
def test_i3_a_clone_is_ordered_as_a_new_deal(status: str | None) -> None:
    """Number and status that were copied with the key of another record do not count: the clone is ordered."""
    found = snapshot_of(ERP_Order_Status__c=status, **_COPY)
    assert isinstance(found, Wanted)
    assert (None, False, False, None) == (
        found.number, found.number_is_proven, found.reopen, found.unproven_status,
    )  # fmt: skip


@pytest.mark.parametrize("status", ["cancelled", "not needed"])
def test_i3_an_unproven_status_is_passed_on_as_unproven(status: str) -> None:
    """Copied without its key, or on a route without a key field: the ERP is asked, and then a person."""
    found = snapshot_of(ERP_Order_Status__c=status, ERP_Order_Number__c="SO-1")
    assert isinstance(found, Wanted)
    assert ("SO-1", False, status) == (found.number, found.number_is_proven, found.unproven_status)
    without = example_route(('key = "ERP_Order_Key__c"', ""))
    same = snapshot(record_of(fields_of(ERP_Order_Status__c=status, ERP_Order_Key__c=KEY), without), ERPS)
    assert isinstance(same, Wanted)
    assert status == same.unproven_status


@pytest.mark.parametrize("key", [str(KEY.partition(":")[2]), KEY[:30], "see 4711", KEY.replace(":", ";")])
@pytest.mark.parametrize("status", ["cancelled", "not needed"])
def test_i3_a_text_that_is_not_a_key_proves_nothing(status: str, key: str) -> None:
    """Typed, or cut by a tool: it names no other record, so a deal that was declined is not ordered silently."""
    found = snapshot_of(ERP_Order_Status__c=status, ERP_Order_Key__c=key)
    assert isinstance(found, Wanted)
    assert status == found.unproven_status


@pytest.mark.parametrize("key", [KEY, f"{KEY[:15]}:{KEY[19:34]}", KEY.upper(), KEY.lower()])
@pytest.mark.parametrize("status", ["cancelled", "not needed"])
def test_i3_a_proven_status_still_counts(status: str, key: str) -> None:
    """Beside this record's own key, in any form, a late message does not order what was declined."""
    assert isinstance(snapshot_of(ERP_Order_Status__c=status, ERP_Order_Key__c=key), Declined)


_COPIED = ("ERP_Order_Number__c", "ERP_Order_Status__c", "ERP_Order_Link__c", "ERP_Order_Key__c")


def _copy(world: Handoff, source: RecordId, record: RecordId, *, key: bool = True) -> None:
    """What a clone tool does with the fields of the write-back."""
    values = world.org.get("Opportunity", source)
    fields = {name: values[name] for name in _COPIED if key or name != "ERP_Order_Key__c"}
    world.org.update("Opportunity", record, **fields)


async def _cancelled_deal(world: Handoff, *clones: Literal["key", "no key"]) -> list[RecordId]:
    """A won deal whose order a person has cancelled, and won deals that were cloned from it: with its key or without.

    No message about the clones arrives.
    """
    world.org.seed(1 + len(clones))
    (first,) = await world.win(1)
    await world.until_written_back(first)
    await world.order(first).result()
    await send_command(world, first, names.SIGNAL_CANCEL)
    won = world.org.win_next(len(clones))
    for record, copied in zip(won, clones, strict=True):
        _copy(world, first, record, key=copied == "key")
    return [first, *won]


async def send_command(world: Handoff, record: RecordId, command: str) -> None:
    """Let the deal's workflow look again, and send it a command before it can end."""
    start = order_start(world.settings, world.settings.routes[0], record)
    message = Message(id=uuid.uuid4().hex, channel=Channel.OPERATOR, received_at=datetime.now(UTC))
    await start_order(world.client, start, message)
    await world.order(record).signal(command)
    await world.order(record).result()


async def test_i3_a_sweep_finds_a_clone_of_a_cancelled_deal() -> None:
    """Number, status and key copied: ordered under a number of its own. The same without the key: a person is asked."""
    async with swept(write_back=WITH_KEY) as world:
        first, with_key, without_key = await _cancelled_deal(world, "key", "no key")
        found = await sweep(world)
        await until(lambda: world.number_of(with_key) not in {None, world.number_of(first)})
        await world.until_stage(without_key, names.OrderStage.ATTENTION)

        assert (3, 2, 1) == (found.found, found.started, found.right)
        assert AttentionReason.ORDER_EXISTS == await attention_reason(world, without_key)
        assert ["cancelled", "confirmed"] == sorted(order["status"] for order in world.erp.orders())


async def test_i3_each_clone_in_a_chain_gets_its_own_order() -> None:
    """A clone of a clone holds the key of either of them, and never one of its own."""
    async with swept(write_back=WITH_KEY) as world:
        first, second, third = await _cancelled_deal(world, "key", "key")
        await sweep(world)
        await until(lambda: world.number_of(second) not in {None, world.number_of(first)})
        await world.order(second).result()
        await world.order(third).result()
        world.org.seed(1)
        (last,) = world.org.win_next(1)
        _copy(world, second, last)
        again = await sweep(world)
        await until(lambda: world.number_of(last) not in {None, world.number_of(second)})

        assert (1, 3) == (again.started, again.right)
        assert 4 == len({world.number_of(one) for one in (first, second, third, last)})


async def test_i3_without_a_key_field_the_erp_or_the_own_workflow_proves_a_status() -> None:
    """A deal that a person has declined is left alone by sweeps; one that copied its status is not."""
    async with swept(write_back=WRITTEN) as world:
        first, clone = await _cancelled_deal(world, "no key")
        world.org.seed(2)
        (skipped,) = world.org.win_next(1)
        world.erp.faults.reject = 1
        await notify(world, skipped)
        await world.until_stage(skipped, names.OrderStage.ATTENTION)
        await world.order(skipped).signal(names.SIGNAL_SKIP)
        await world.order(skipped).result()
        found = await sweep(world)
        await world.until_stage(clone, names.OrderStage.ATTENTION)

        assert (1, 2) == (found.started, found.right)
        assert "not needed" == world.org.get("Opportunity", skipped)["ERP_Order_Status__c"]
        assert AttentionReason.ORDER_EXISTS == await attention_reason(world, clone)
        assert ["cancelled"] == [order["status"] for order in world.erp.orders()]
        assert first != clone


@pytest.mark.parametrize("write_back", [WITH_KEY, WRITTEN], ids=["key field", "no key field"])
async def test_i3_a_copied_status_does_not_hide_a_superfluous_order(write_back: dict[str, str]) -> None:
    """A deal is not won any more, its order lives, and its status says `cancelled` because it was copied."""
    async with swept(write_back=write_back, on_unqualified="cancel", grace=timedelta(0)) as world:
        first, second = await _cancelled_deal(world, "key")
        world.org.update("Opportunity", second, ERP_Order_Status__c=None, ERP_Order_Number__c=None)
        await sweep(world)
        await world.until_written_back(second)
        await world.order(second).result()
        _copy(world, first, second)
        world.org.update("Opportunity", second, StageName="Negotiation/Review")
        found = await sweep(world)
        await world.order(second).result()

        assert 1 == found.started
        assert ["cancelled", "cancelled"] == [order["status"] for order in world.erp.orders()]


async def test_i3_the_audit_reports_what_was_copied_and_fix_orders_it() -> None:
    """Clones of a cancelled deal, with its key and without: neither counts as cancelled."""
    async with handoff(write_back=WITH_KEY) as world, world.working(subscriber=False):
        first, with_key, without_key = await _cancelled_deal(world, "key", "no key")
        report = await world.audit()

        assert {with_key: [FindingKind.COPIED_STATUS], without_key: [FindingKind.COPIED_STATUS]} == await finding_kinds(
            world
        )
        assert (3, 1, 2) == (report.counts.won, report.counts.cancelled, report.counts.missing)
        await repair(world.settings, world.client, report)
        await until(lambda: world.number_of(with_key) not in {None, world.number_of(first)})
        await world.until_stage(without_key, names.OrderStage.ATTENTION)
        assert AttentionReason.ORDER_EXISTS == await attention_reason(world, without_key)


async def test_i3_without_a_key_field_the_audit_asks_the_workflow_whether_a_person_has_declined() -> None:
    """A cancelled order under the own key proves it, and so does the own workflow; a clone has neither."""
    async with handoff(write_back=WRITTEN) as world, world.working(subscriber=False):
        _, clone = await _cancelled_deal(world, "no key")
        world.org.seed(1)
        world.erp.faults.reject = 1
        (skipped,) = await world.win(1)
        await world.until_stage(skipped, names.OrderStage.ATTENTION)
        await world.order(skipped).signal(names.SIGNAL_SKIP)
        await world.order(skipped).result()

        assert {clone: [FindingKind.COPIED_STATUS]} == await finding_kinds(world)
        assert 2 == (await world.audit()).counts.cancelled
