"""What the identity cases share: a world with a stub ERP, deals and messages, and what the audit finds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from temporalio.common import MetricMeter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.erp import ErpActivities
from closedwon import names
from closedwon.audit.compare import FindingKind
from closedwon.emulators.erp.stub import StubErp
from closedwon.erp import open_erp
from closedwon.erp.base import Erp
from closedwon.ids import RecordId
from closedwon.mapping.record import Erps, snapshot
from closedwon.model.erp_calls import CancelOrder, CreateOrder, ErpResult
from closedwon.model.order_state import Problem
from closedwon.model.orders import Order
from closedwon.model.snapshot import RecordSnapshot
from closedwon.telemetry.metrics import Metrics
from tests.integration.erp.worlds import new_order, no_proof, rest_settings
from tests.support import checks as support
from tests.support.handoff import Handoff
from tests.support.intake import soap_message
from tests.support.mapping import deal as fields_of
from tests.support.mapping import record_of

TODAY = datetime(2026, 3, 31, 12, 0, tzinfo=UTC)


class StubWorld(NamedTuple):
    """The stub ERP over sockets, and the activities that an order workflow calls."""

    stub: StubErp
    erp: Erp
    activities: ErpActivities

    async def create(self, order: Order, **request: Any) -> ErpResult:
        """Run the activity that an order workflow calls to place an order."""
        return await ActivityEnvironment().run(
            self.activities.create_order, CreateOrder(erp="stub", order=order, **request)
        )

    async def cancel(self, key: str, **request: Any) -> ErpResult:
        """Run the activity that an order workflow calls when its record no longer qualifies."""
        return await ActivityEnvironment().run(
            self.activities.cancel_order, CancelOrder(erp="stub", idempotency_key=key, **request)
        )

    def rows(self) -> list[dict[str, Any]]:
        """Every order with every column, read from the stub's database."""
        return [dict(row) for row in self.stub.table.db.execute("SELECT * FROM orders ORDER BY id")]


@asynccontextmanager
async def stub_world() -> AsyncIterator[StubWorld]:
    """An empty stub ERP behind the activities."""
    async with StubErp.running() as stub:
        erp = open_erp(rest_settings(stub.url, stub.token))
        yield StubWorld(stub, erp, ErpActivities({"stub": erp}, Metrics(MetricMeter.noop), prove=no_proof))
        await erp.close()


def deal(lines: list[tuple[str, str, str]] | None = None, /, **changes: Any) -> Order:
    """An order of a record that was created on `TODAY`, for a customer that has no other order."""
    order = new_order(lines) if lines else new_order()
    return order.model_copy(update={"created_at": TODAY, "modified_at": TODAY, "order_date": TODAY.date()} | changes)


async def problem_of(call: Awaitable[object]) -> Problem:
    """Run a call that must fail for good, and return the problem that a person is shown."""
    with pytest.raises(ApplicationError) as caught:
        await call
    assert caught.value.non_retryable, caught.value
    problem: Problem = caught.value.details[0]
    return problem


OTHERS = [("GC1040", "4", "5900.00")]


ERPS = Erps(("tryton",))


def snapshot_of(**fields: Any) -> RecordSnapshot:
    """What the example route reads from a deal with these fields."""
    return snapshot(record_of(fields_of(**fields)), ERPS)


ORDER_OF_MESSAGE: dict[str, Any] = {
    "source": "event",
    "payload": "@",
    "events": (),
    "qualify": "IsWon == 'true'",
    "order": {
        "name": "Name",
        "currency": "'EUR'",
        "customer": {"id": "AccountId", "name": "'Edge'"},
        "lines": {"each": "[@]", "product": "Product_Code__c", "quantity": "'1'", "unit_price": "Amount"},
    },
}
"""Route settings: the order is made from the fields of the message, and the record is not read."""


def message_about(org: str, record: str, *, first: int = 1, **fields: Any) -> bytes:
    """An outbound message with these fields of a deal; `first` is the number of its notification."""
    values = {"Name": "Roof", "AccountId": "001000000000001", "Product_Code__c": "GC1040", "IsWon": "true", **fields}
    elements = "".join(f"<sf:{name}>{value}</sf:{name}>" for name, value in values.items())
    return soap_message(org, [record], first=first).replace(b"</sObject>", f"{elements}</sObject>".encode())


async def waits_for_org(world: Handoff, record: RecordId) -> bool:
    """Whether the order workflow waits because its org is held by a check."""
    return "held: org org-0: " in await support.waits_for(world, names.order_workflow_id(world.org.org_id, record))


WRITTEN = {
    "number": "ERP_Order_Number__c",
    "status": "ERP_Order_Status__c",
    "link": "ERP_Order_Link__c",
    "error": "ERP_Order_Error__c",
}


WITH_KEY = WRITTEN | {"key": "ERP_Order_Key__c"}


async def ordered_deals(world: Handoff, number: int) -> list[RecordId]:
    """Win so many deals one after the other, each when the order of the one before it is done."""
    world.org.seed(number)
    won = []
    for _ in range(number):
        won += await world.win(1)
        await world.order(won[-1]).result()
    return won


async def finding_kinds(world: Handoff) -> dict[RecordId, list[FindingKind]]:
    """The kinds of the audit's findings, by record."""
    report = await world.audit()
    found: dict[RecordId, list[FindingKind]] = {}
    for one in (*report.findings, *report.under_way):
        found.setdefault(one.record, []).append(one.kind)
    return found
