"""A workflow of one activity on the ERP's queue, retried as an order workflow retries it; for tests of attempts."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import MetricMeter, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Worker

from activities.attempts import Prove, ask_temporal
from activities.erp import ErpActivities
from closedwon.emulators.erp.stub import StubErp
from closedwon.erp import open_erp
from closedwon.erp.base import OnStep, no_step
from closedwon.model.erp_calls import CancelOrder, CreateOrder, ErpResult
from closedwon.model.order_state import Problem
from closedwon.model.orders import Order
from closedwon.telemetry.metrics import Metrics
from tests.integration.erp.worlds import rest_settings

HEARTBEAT: Final = timedelta(seconds=4)
"""Longer than the three seconds after which an activity heartbeats."""


@workflow.defn(sandboxed=False)
class OneStep:
    """Runs one activity until it succeeds, or needs attention."""

    @workflow.run
    async def run(self, activity: str, request: dict[str, Any]) -> Any:
        """The activity's result."""
        return await workflow.execute_activity(
            activity,
            request,
            start_to_close_timeout=timedelta(minutes=1),
            heartbeat_timeout=HEARTBEAT,
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=0.1), maximum_interval=timedelta(seconds=0.5)),
        )


class Steps:
    """Activities on real parts: one workflow each, on a queue of their own."""

    def __init__(self, client: Client, stub: StubErp) -> None:
        """Run on the server of `client`, against `stub`."""
        self.client = client
        self.stub = stub
        self.queue = f"steps-{uuid.uuid4().hex}"
        self.erp = open_erp(rest_settings(stub.url, stub.token))

    def activities(self, *, on_step: OnStep = no_step, prove: Prove = ask_temporal) -> ErpActivities:
        """The activities before the stub ERP."""
        return ErpActivities({"stub": self.erp}, Metrics(MetricMeter.noop), on_step=on_step, prove=prove)

    def worker(self, activities: ErpActivities | None = None, *, client: Client | None = None) -> Worker:
        """A worker of activities."""
        steps = activities or self.activities()
        return Worker(client or self.client, task_queue=self.queue, activities=[steps.create_order, steps.cancel_order])

    async def start(self, request: CreateOrder | CancelOrder) -> WorkflowHandle[OneStep, Any]:
        """Begin one step."""
        name = "create_order" if isinstance(request, CreateOrder) else "cancel_order"
        return await self.client.start_workflow(
            OneStep.run, args=[name, request.model_dump(mode="json")], id=uuid.uuid4().hex, task_queue=self.queue
        )

    async def run(self, request: CreateOrder | CancelOrder) -> ErpResult:
        """One step to its end."""
        return ErpResult.model_validate(await (await self.start(request)).result())

    async def create(self, order: Order, **request: Any) -> ErpResult:
        """Have the order made."""
        return await self.run(CreateOrder(erp="stub", order=order, **request))

    async def cancel(self, order: Order, **request: Any) -> ErpResult:
        """Have the order cancelled."""
        return await self.run(CancelOrder(erp="stub", idempotency_key=order.idempotency_key, **request))

    async def problem_of(self, step: WorkflowHandle[OneStep, Any]) -> Problem:
        """Why the step needs attention."""
        try:
            result = await step.result()
        except WorkflowFailureError as failure:
            cause: BaseException | None = failure.cause
            while isinstance(cause, ActivityError):
                cause = cause.cause
            assert isinstance(cause, ApplicationError), cause
            return Problem.model_validate(cause.details[0])
        raise AssertionError(f"it ended with {result}")


@asynccontextmanager
async def steps_world(client: Client) -> AsyncIterator[Steps]:
    """An empty stub ERP, and a worker that decides; the workers of activities are the test's own."""
    async with StubErp.running() as stub:
        steps = Steps(client, stub)
        async with Worker(client, task_queue=steps.queue, workflows=[OneStep]):
            yield steps
        await steps.erp.close()
