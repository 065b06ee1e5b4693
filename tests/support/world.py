"""The order workflow with activities that a test scripts.

Only here are activities stood in for: what is tested is the workflow's decisions, which are pure logic.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from temporalio import activity
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.failures import errors_as_failures
from activities.heartbeats import run_to_completion
from closedwon import names
from closedwon.ids import OrgId, RecordId
from closedwon.model.alerts import Need
from closedwon.model.erp import ErpOrder, ErpStatus
from closedwon.model.erp_calls import (
    CancelOrder,
    CreateOrder,
    ErpResult,
    FindOrder,
    FollowOrder,
    Resolved,
    ResolveOrder,
)
from closedwon.model.messages import Message
from closedwon.model.order_state import OrderStart
from closedwon.model.orders import Customer, Order, OrderLine
from closedwon.model.outcomes import OrderOutcome
from closedwon.model.records import ReadRecord, WriteBack
from closedwon.model.routes import Channel, Following
from closedwon.model.snapshot import Deleted, RecordSnapshot, Values, Wanted
from closedwon.temporal.orders import start_order
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS
from tests.support import handoff
from tests.support.histories import keep_history
from tests.support.visibility import waits
from workflows.order import OrderWorkflow

ORG = OrgId("00D000000000001")
_Script = Callable[[Any], Awaitable[Any]]


def new_record() -> RecordId:
    """A record id that no other test uses."""
    return RecordId("006" + uuid.uuid4().hex[:12])


def order_of(record: RecordId, *, quantity: str = "2") -> Order:
    """The order that the scripted record asks for."""
    return Order(
        org=ORG,
        record=record,
        name="Ten generators",
        customer=Customer(id=RecordId("001000000000001"), name="Edge"),
        currency="EUR",
        lines=(OrderLine(product="GC1040", quantity=Decimal(quantity), unit_price=Decimal("5000.00")),),
    )


def erp_order(status: ErpStatus = ErpStatus.PROCESSING, amount: str = "10000.00") -> ErpOrder:
    """The order as the scripted ERP has it."""
    return ErpOrder(id="1", number="SO-1", status=status, currency="EUR", amount=Decimal(amount), line_count=1)


def _result(answer: ErpOrder | ErpResult | None) -> ErpResult:
    """A script may answer with just the order."""
    return answer if isinstance(answer, ErpResult) else ErpResult(order=answer)


class Held:
    """A scripted activity that waits, under way, until the test lets it go on."""

    def __init__(self, result: Any) -> None:
        self.started, self.go_on = asyncio.Event(), asyncio.Event()
        self._result = result

    async def __call__(self, _request: object) -> Any:
        self.started.set()
        await self.go_on.wait()
        return self._result


class World:
    """Salesforce and ERP as scripted activities, with a record of every call."""

    def __init__(self, client: Client, record: RecordId) -> None:
        self.client = client
        self.record = record
        self.calls: list[str] = []
        self.written: list[WriteBack] = []
        self.needs: list[Need] = []
        self.load: _Script = self._load
        self.create: _Script = self._create
        self.cancel: _Script = self._cancel
        self.find: _Script = self._find
        self.follow: _Script = self._find
        self.resolve: _Script = self._resolve
        self.write: _Script = self._write
        self.alert: _Script = self._alert

    async def _load(self, request: ReadRecord) -> RecordSnapshot:
        if request.message is not None and request.message.deleted:
            return Deleted(erp="stub")
        return Wanted(order=order_of(self.record), erp="stub", written={"Number": None, "Status": None})

    async def _create(self, _request: CreateOrder) -> ErpOrder:
        return erp_order()

    async def _cancel(self, _request: CancelOrder) -> ErpOrder | None:
        return erp_order(ErpStatus.CANCELLED)

    async def _find(self, _request: FindOrder) -> ErpOrder | None:
        return None

    async def _resolve(self, request: ResolveOrder) -> Resolved:
        return Resolved(order=erp_order().model_copy(update={"number": request.number}))

    async def _alert(self, _need: Need) -> bool:
        return True

    async def _write(self, request: WriteBack) -> Values:
        self.written.append(request)
        return request.written

    @activity.defn
    async def load_order(self, request: ReadRecord) -> RecordSnapshot:
        return await self._play("load", self.load, request)  # type: ignore[no-any-return]

    @activity.defn
    async def create_order(self, request: CreateOrder) -> ErpResult:
        return _result(await self._play("create", self.create, request))

    @activity.defn
    async def cancel_order(self, request: CancelOrder) -> ErpResult:
        return _result(await self._play("cancel", self.cancel, request))

    @activity.defn
    async def find_order(self, request: FindOrder) -> ErpOrder | None:
        return await self._play("find", self.find, request)  # type: ignore[no-any-return]

    @activity.defn
    async def follow_order(self, request: FollowOrder) -> ErpOrder | None:
        return await self._play("follow", self.follow, request)  # type: ignore[no-any-return]

    @activity.defn
    async def resolve_order(self, request: ResolveOrder) -> Resolved:
        return await self._play("resolve", self.resolve, request)  # type: ignore[no-any-return]

    @activity.defn
    async def raise_alert(self, need: Need) -> bool:
        self.needs.append(need)
        return await self.alert(need)  # type: ignore[no-any-return]

    @property
    def erp_activities(self) -> list[Callable[..., Any]]:
        """What the worker of an ERP offers."""
        return [self.create_order, self.cancel_order, self.find_order, self.follow_order, self.resolve_order]

    @activity.defn
    async def write_back(self, request: WriteBack) -> Values:
        return await self._play("write", self.write, request)  # type: ignore[no-any-return]

    async def _play(self, call: str, script: _Script, request: Any) -> Any:
        self.calls.append(call)
        with errors_as_failures():
            return await run_to_completion(script(request))  # type: ignore[arg-type]

    async def notify(
        self,
        message_id: str = "m-1",
        *,
        late_message_window: timedelta = timedelta(0),
        follow: Following | None = None,
        **message: Any,
    ) -> WorkflowHandle[OrderWorkflow, OrderOutcome]:
        """Deliver a notification of the record, as every channel does."""
        await start_order(
            self.client,
            OrderStart(
                org=ORG, record=self.record, route="won-deals", late_message_window=late_message_window, follow=follow
            ),
            Message(id=message_id, channel=Channel.PLATFORM_EVENT, received_at=datetime.now(UTC), **message),
        )
        return self.client.get_workflow_handle_for(OrderWorkflow.run, names.order_workflow_id(ORG, self.record))

    until = staticmethod(handoff.until)

    async def stage(self) -> str | None:
        """The order's stage as the list of workflows shows it."""
        handle = self.client.get_workflow_handle(names.order_workflow_id(ORG, self.record))
        description = await handle.describe()
        return description.typed_search_attributes.get(SEARCH_ATTRIBUTE_KEYS[names.ORDER_STAGE])

    async def story(self) -> str:
        """The details page, as Temporal's UI asks for it."""
        handle = self.client.get_workflow_handle(names.order_workflow_id(ORG, self.record))
        metadata: WorkflowMetadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        return str(metadata.current_details)

    async def until_stage(self, stage: names.OrderStage) -> None:
        """Wait until the order stands there."""

        async def stands() -> bool:
            return await self.stage() == stage and (
                stage is not names.OrderStage.ORDERING
                or await waits(self.client, names.order_workflow_id(ORG, self.record))
            )

        await self.until(stands)


def order_worker(world: World) -> Worker:
    """What decides about orders, and reads from and writes to Salesforce."""
    return Worker(
        world.client,
        task_queue=names.ORDERS_QUEUE,
        workflows=[OrderWorkflow],
        activities=[world.load_order, world.write_back, world.raise_alert],
    )


@asynccontextmanager
async def running(client: Client, record: RecordId | None = None, *, deciding: bool = True) -> AsyncIterator[World]:
    """A world with workers for one record; unless `deciding`, `order_worker` is the test's own."""
    world = World(client, record or new_record())
    async with AsyncExitStack() as stack:
        for queue in (names.erp_queue("stub"), names.ERP_QUEUE):
            await stack.enter_async_context(Worker(client, task_queue=queue, activities=world.erp_activities))
        if deciding:
            await stack.enter_async_context(order_worker(world))
        yield world
        await keep_history(client, names.order_workflow_id(ORG, world.record))
