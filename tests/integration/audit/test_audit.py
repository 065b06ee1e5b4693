"""Every kind of finding, caused and found with a Salesforce emulator, an ERP and a Temporal server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from closedwon import names
from closedwon.audit.collect import audit
from closedwon.audit.compare import AuditReport, Finding, FindingKind
from closedwon.audit.repair import repair
from closedwon.emulators.erp.stub import StubErp
from closedwon.ids import RecordId
from closedwon.mapping.orders import map_order
from closedwon.model.erp import ErpStatus
from closedwon.names import OrderStage
from closedwon.settings import RestErp
from closedwon.settings.routes import ErpByExpression
from tests.support.audit import assert_clean, story
from tests.support.handoff import Handoff, handoff, until
from workers.connections import Connections

_MINE = names.SALESFORCE_ORG_ID


@pytest.fixture
async def world(temporal_server: WorkflowEnvironment) -> AsyncIterator[Handoff]:
    """A world in which workers run only if a test starts them."""
    async with handoff(temporal_server=temporal_server) as world:
        yield world
        async for left in world.client.list_workflows(
            f"{_MINE} = '{world.org.org_id}' AND ExecutionStatus = 'Running'"
        ):
            with suppress(RPCError):  # it has ended meanwhile
                await world.client.get_workflow_handle(left.id).terminate()


async def sold(world: Handoff, number: int) -> list[RecordId]:
    """Won deals whose orders are complete, in a world without running workers; two deals are open."""
    world.org.seed(number + 2)
    async with world.working(subscriber=False):
        won = await world.win(number)
        for record in won:
            await world.until_stage(record, OrderStage.COMPLETED)
    return won


async def work_until_clean(world: Handoff, report: AuditReport, *, won: int) -> int:
    """Do what `--fix` does, run the workers and wait until the audit is clean; return how many were started."""
    async with world.working(subscriber=False):
        started = await repair(world.settings, world.client, report)

        async def clean() -> bool:
            now = await world.audit()
            return now.clean and not now.under_way

        await until(clean)
    assert_clean(await world.audit(), won=won)
    return started


async def the_finding(world: Handoff, record: RecordId) -> Finding:
    """The only finding, which must be about this record."""
    report = await world.audit()
    assert [record] == [one.record for one in report.findings], story(report)
    return report.findings[0]


async def in_the_erp(world: Handoff, record: RecordId, status: ErpStatus) -> None:
    """What people do to an order inside the ERP."""
    (order,) = [one for one in world.erp.orders() if one["idempotency_key"].endswith(record)]
    url = f"{world.erp.url}/_admin/orders/{order['id']}"
    async with aiohttp.request("POST", url, json={"status": status.value}) as answer:
        answer.raise_for_status()


def change(world: Handoff, record: RecordId) -> None:
    """Sell one more of something."""
    query = f"SELECT Id, Quantity FROM OpportunityLineItem WHERE OpportunityId = '{record}'"  # noqa: S608 - SOQL
    (line, *_) = world.org.query(query)
    world.org.update("OpportunityLineItem", line["Id"], Quantity=line["Quantity"] + 1)


def obey(world: Handoff, **policies: Any) -> None:
    """Set the route's policies, without waiting for notifications."""
    (route,) = world.settings.routes
    world.settings = world.settings.model_copy(
        update={"routes": (route.model_copy(update={"grace": timedelta(0), **policies}),)}
    )


async def test_a_hundred_deals_that_went_well_are_clean(world: Handoff) -> None:
    """There are no findings, and the audit takes a few API calls, not one per deal."""
    await sold(world, 100)

    report = await world.audit()

    assert_clean(report, won=100)
    assert {"records": 102, "orders": 100, "workflows": 100} == report.looked_at
    assert {"org-0": 1, "stub": 1} == report.calls


async def test_a_deal_without_an_order_is_found_and_fixed(world: Handoff) -> None:
    """No notification arrived: the audit finds the deal, its workflow orders it, and the next audit is clean."""
    await sold(world, 1)
    (lost,) = world.org.win_next(1)

    found = await the_finding(world, lost)
    assert (FindingKind.WON_WITHOUT_ORDER, True, "won-0") == (found.kind, found.fixable, found.route)
    assert ("no order", "no workflow") == (found.erp, found.workflow)
    assert "shows nothing" in found.salesforce

    assert 1 == await work_until_clean(world, await world.audit(), won=2)


@pytest.mark.parametrize("field", ["ERP_Order_Number__c", "ERP_Order_Status__c"])
async def test_what_was_not_written_back_is_found_and_fixed(world: Handoff, field: str) -> None:
    """A number or a status that Salesforce does not show is written by the record's workflow."""
    record, _ = await sold(world, 2)
    world.org.update("Opportunity", record, **{field: None})

    found = await the_finding(world, record)
    assert (FindingKind.NOT_WRITTEN_BACK, True) == (found.kind, found.fixable)

    await work_until_clean(world, await world.audit(), won=2)


async def test_an_order_left_as_a_draft_is_found_and_fixed(world: Handoff) -> None:
    """An order that exists but is not binding is confirmed."""
    record, _ = await sold(world, 2)
    await in_the_erp(world, record, ErpStatus.DRAFT)

    assert FindingKind.NOT_CONFIRMED is (await the_finding(world, record)).kind

    await work_until_clean(world, await world.audit(), won=2)


async def test_another_number_than_the_erps_is_found(world: Handoff) -> None:
    """Salesforce shows an order, but it is another record's."""
    one, other = await sold(world, 2)
    world.org.update("Opportunity", one, ERP_Order_Number__c=world.number_of(other))

    found = await the_finding(world, one)

    assert FindingKind.NOT_WRITTEN_BACK is found.kind
    assert str(world.number_of(other)) in found.salesforce


async def test_a_changed_deal_is_found(world: Handoff) -> None:
    """The order holds another total than the deal does now; both are named."""
    record, _ = await sold(world, 2)
    change(world, record)

    found = await the_finding(world, record)

    assert FindingKind.AMOUNT_DIFFERS is found.kind
    assert found.salesforce.split(",")[1] != found.erp.split(",")[1]


@pytest.mark.parametrize("deleted", [False, True])
async def test_an_order_without_its_deal_is_found(world: Handoff, deleted: bool) -> None:  # noqa: FBT001
    """A reopened or deleted deal whose order the ERP still delivers: a person decides."""
    record, _ = await sold(world, 2)
    if deleted:
        world.org.delete("Opportunity", record)
    else:
        world.org.update("Opportunity", record, StageName="Prospecting")

    found = await the_finding(world, record)

    assert FindingKind.ORDER_WITHOUT_DEAL is found.kind
    assert found.salesforce.startswith("deleted" if deleted else "not won")

    obey(world, on_unqualified="cancel", on_deleted="cancel")
    await work_until_clean(world, await world.audit(), won=1)


async def test_what_a_policy_ignores_is_not_a_finding(world: Handoff) -> None:
    """A reopened, a deleted and a changed deal, on a route that ignores all three."""
    reopened, deleted, changed = await sold(world, 3)
    world.org.update("Opportunity", reopened, StageName="Prospecting")
    world.org.delete("Opportunity", deleted)
    change(world, changed)
    assert 3 == len((await world.audit()).findings)

    obey(world, on_unqualified="ignore", on_deleted="ignore", on_changed="ignore")

    assert_clean(await world.audit(), won=1)


async def test_fix_amends_the_order_of_a_changed_deal(world: Handoff) -> None:
    """On a route that amends, the order is what the deal is now."""
    record, _ = await sold(world, 2)
    change(world, record)
    obey(world, on_changed="amend")

    await work_until_clean(world, await world.audit(), won=2)


async def test_an_order_that_the_erp_has_cancelled_is_found(world: Handoff) -> None:
    """The deal is won and shows its order, but the ERP will not deliver."""
    record, _ = await sold(world, 2)
    await in_the_erp(world, record, ErpStatus.CANCELLED)

    assert FindingKind.CANCELLED_IN_ERP is (await the_finding(world, record)).kind


async def test_two_orders_of_one_record_are_found(world: Handoff) -> None:
    """A second order under the record's 15-character id, which no unique constraint prevents."""
    record, _ = await sold(world, 2)
    request = world.erp.table.db.execute("SELECT request FROM orders WHERE idempotency_key LIKE ?", (f"%{record}",))
    headers = {"Authorization": f"Bearer {world.erp.token}", "Idempotency-Key": f"{world.org.org_id}:{record.short}"}
    body = request.fetchone()["request"]
    async with aiohttp.request("POST", f"{world.erp.url}/orders", data=body, headers=headers) as answer:
        answer.raise_for_status()

    found = await the_finding(world, record)

    assert (FindingKind.DUPLICATE_ORDER, False) == (found.kind, found.fixable)
    assert found.erp.count("stub L") == 2
    assert 1 == (await world.audit()).counts.duplicates


async def test_two_orders_in_two_erps_are_found(world: Handoff) -> None:
    """A record that picks its ERP has an order in each, under the same key, one of them older than asked for."""
    (route,) = world.settings.routes
    world.org.seed(1)
    (record,) = world.org.win_next(1)
    async with StubErp.running() as other:
        second = RestErp(kind="rest", name="second", url=other.url, token=SecretStr(other.token))
        by_record = route.model_copy(update={"erp": ErpByExpression(expression="'stub'")})
        world.settings = world.settings.model_copy(
            update={"erps": (*world.settings.erps, second), "routes": (by_record,)}
        )
        async with Connections(world.settings) as connections:
            deal = await connections.salesforce[world.org.org_id].read(route.object, route.query_fields, record)
            order = map_order(route, world.org.org_id, record, deal or {})
            await connections.erps["second"].create(order)
            since = datetime.now(UTC) + timedelta(milliseconds=5)
            await until(lambda: datetime.now(UTC) > since)
            made = await connections.erps["stub"].advance(await connections.erps["stub"].create(order))
            world.org.update("Opportunity", record, ERP_Order_Number__c=made.number, ERP_Order_Status__c="confirmed")

            await world.until_listed()
            report = await audit(world.settings, connections, world.client, since=since, lag=timedelta(0))

    assert [FindingKind.DUPLICATE_ORDER] == [one.kind for one in report.findings], story(report)
    assert "second L000001 draft" in report.findings[0].erp


async def test_a_number_that_no_erp_knows_is_found(world: Handoff) -> None:
    """An open deal that shows an order."""
    await sold(world, 1)
    (record, *_) = [one["Id"] for one in world.org.query("SELECT Id FROM Opportunity WHERE IsWon = false")]
    world.org.update("Opportunity", record, ERP_Order_Number__c="L999999")

    assert FindingKind.UNKNOWN_NUMBER is (await the_finding(world, RecordId(record))).kind


async def test_an_order_that_is_gone_from_the_erp_is_found(world: Handoff) -> None:
    """Workflow and record say that it is ordered, the ERP knows nothing of it."""
    record, _ = await sold(world, 2)
    number = world.number_of(record)
    world.erp.table.db.execute("DELETE FROM orders WHERE idempotency_key LIKE ?", (f"%{record}",))

    found = await the_finding(world, record)
    assert (FindingKind.UNKNOWN_NUMBER, f"completed {number}") == (found.kind, found.workflow)

    world.org.update("Opportunity", record, StageName="Prospecting", ERP_Order_Number__c=None, ERP_Order_Status__c=None)
    assert FindingKind.WORKFLOW_DIFFERS is (await the_finding(world, record)).kind


async def test_a_copied_deal_is_found_and_fixed(world: Handoff) -> None:
    """Salesforce copies the number along with the deal: won, the copy shows another deal's order and has none."""
    (first,) = await sold(world, 1)
    (copy,) = world.org.win_next(1)
    copied_fields = {
        field: world.org.get("Opportunity", first)[field] for field in ("ERP_Order_Number__c", "ERP_Order_Status__c")
    }
    world.org.update("Opportunity", copy, **copied_fields)

    assert FindingKind.UNKNOWN_NUMBER is (await the_finding(world, copy)).kind

    await work_until_clean(world, await world.audit(), won=2)


async def test_a_cancelled_order_is_not_missing(world: Handoff) -> None:
    """An order that an operator cancelled, and that Salesforce shows as cancelled, is not a finding."""
    world.org.seed(3)
    world.erp.faults.reject = 1
    async with world.working(subscriber=False):
        (refused,) = await world.win(1)
        await world.until_stage(refused, OrderStage.ATTENTION)
        await until(lambda: world.org.get("Opportunity", refused)["ERP_Order_Error__c"] is not None)
        waiting = await the_finding(world, refused)
        assert (FindingKind.WON_WITHOUT_ORDER, "needs attention (erp-rejected)") == (waiting.kind, waiting.workflow)

        await world.order(refused).signal("cancel")
        (good,) = await world.win(1)
        for record, stage in ((refused, OrderStage.CANCELLED), (good, OrderStage.COMPLETED)):
            await world.until_stage(record, stage)

    assert_clean(await world.audit(), won=2, cancelled=1)


async def test_what_is_under_way_is_not_a_finding(world: Handoff) -> None:
    """A deal whose workflow is running, and one that was just won, are reported as under way; the audit is clean."""
    world.org.seed(2)
    (moving,) = await world.win(1)
    report = await world.audit()
    assert (True, [moving]) == (report.clean, [one.record for one in report.under_way])

    (young,) = world.org.win_next(1)
    await world.until_listed()
    async with Connections(world.settings) as connections:
        since = datetime.now(UTC) - timedelta(hours=1)
        report = await audit(world.settings, connections, world.client, since=since)
    assert (True, {moving, young}) == (report.clean, {one.record for one in report.under_way})


async def test_only_the_requested_period_is_compared(world: Handoff) -> None:
    """What was changed before or after is left out; an old record whose order was changed since is not."""
    await sold(world, 1)
    between = datetime.now(UTC)
    (lost,) = world.org.win_next(1)
    await world.until_listed()
    async with Connections(world.settings) as connections:
        clients = (world.settings, connections, world.client)
        before = await audit(*clients, since=between - timedelta(hours=1), until=between, lag=timedelta(0))
        after = await audit(*clients, since=between, lag=timedelta(0))

    assert (True, 1) == (before.clean, before.counts.won)
    assert [lost] == [one.record for one in after.findings]
    assert 1 == after.counts.won


async def test_a_route_by_messages_is_compared_by_its_orders() -> None:
    """The records do not contain what was ordered: orders, numbers and statuses are compared; no finding is fixable."""
    async with handoff(source="event", payload="Payload__c") as world:
        world.org.seed(3)
        async with world.working():
            won = world.org.win_next(2)
            for record in won:
                await world.until_stage(record, OrderStage.COMPLETED)
        assert_clean(await world.audit(), won=2)

        world.org.update("Opportunity", won[0], ERP_Order_Number__c=None)
        found = await the_finding(world, won[0])
        assert (FindingKind.NOT_WRITTEN_BACK, False) == (found.kind, found.fixable)

        world.org.delete("Opportunity", won[0])
        assert FindingKind.ORDER_WITHOUT_DEAL is (await the_finding(world, won[0])).kind


async def test_a_followed_order_is_compared_as_well(world: Handoff) -> None:
    """Its workflow is open for months: a missing value in Salesforce is found, and the workflow fixes it."""
    obey(world, follow=True)
    world.org.seed(1)
    async with world.working(subscriber=False):
        (record,) = await world.win(1)
        await world.until_stage(record, OrderStage.FOLLOWING)
        assert_clean(await world.audit(), won=1)
        world.org.update("Opportunity", record, ERP_Order_Number__c=None)

        assert FindingKind.NOT_WRITTEN_BACK is (await the_finding(world, record)).kind

        await repair(world.settings, world.client, await world.audit())
        await world.until_written_back(record)
        await world.until_stage(record, OrderStage.FOLLOWING)
    assert_clean(await world.audit(), won=1)


async def test_one_route_is_compared_alone(world: Handoff) -> None:
    """Two routes share an object: records of the other route are neither reported nor mistaken for errors."""
    (route,) = world.settings.routes
    large = route.model_copy(update={"name": "large", "qualify": "IsWon && Amount >= `0`"})
    none = route.model_copy(update={"name": "none", "qualify": "`false`"})
    world.settings = world.settings.model_copy(update={"routes": (none, large)})
    await sold(world, 2)
    (lost,) = world.org.win_next(1)
    await world.until_listed()

    async with Connections(world.settings) as connections:
        since = datetime.now(UTC) - timedelta(hours=1)
        clients = (world.settings, connections, world.client)
        of = {name: await audit(*clients, since=since, route=name, lag=timedelta(0)) for name in ("none", "large")}

    assert (True, 0) == (of["none"].clean, of["none"].counts.won)
    assert [(lost, "large")] == [(one.record, one.route) for one in of["large"].findings]
    assert 3 == of["large"].counts.won
