"""The worker of the orders: workflows and Salesforce activities on one queue, ERP activities on one per ERP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from temporalio.client import Client
from temporalio.worker import Worker

from activities.alerts import AlertActivities
from activities.audits import AuditActivities
from activities.erp import ErpActivities
from activities.holds import Holds
from activities.messages import MessageActivities
from activities.salesforce import OnWritten, SalesforceActivities, nothing
from activities.sweep_starts import SweepStarts
from activities.sweeps import SweepActivities
from closedwon import names
from closedwon.erp.base import OnStep, no_step
from closedwon.settings import Settings
from closedwon.telemetry.metrics import Metrics
from workers.connections import Connections
from workers.deployment import deployment
from workers.sandbox import WORKFLOW_RUNNER
from workflows.alerts import AlertWorkflow
from workflows.audits import AuditFindingWorkflow, AuditWorkflow
from workflows.encryption_key import EncryptionKeyWorkflow
from workflows.erp_limit import ErpLimitWorkflow
from workflows.hold import HoldWorkflow
from workflows.message import UnparseableMessageWorkflow
from workflows.order import OrderWorkflow
from workflows.sweep import SweepWorkflow

_Activity = Callable[..., Any]
_WORKFLOWS: Final = (
    OrderWorkflow,
    UnparseableMessageWorkflow,
    SweepWorkflow,
    ErpLimitWorkflow,
    AlertWorkflow,
    HoldWorkflow,
    AuditWorkflow,
    AuditFindingWorkflow,
    EncryptionKeyWorkflow,
)
_TASKS: Final = 500
"""Workflow tasks and local activities at the same time. A task is held while its local activity waits for others to
share a Salesforce call, and costs nothing but memory meanwhile; the SDK's default of 100 would limit the batches."""


def order_workers(
    client: Client,
    settings: Settings,
    connections: Connections,
    metrics: Metrics,
    *,
    on_step: OnStep = no_step,
    on_written: OnWritten = nothing,
    holds: Holds | None = None,
    on_fatal_error: Callable[[BaseException], Awaitable[None]] | None = None,
) -> tuple[Worker, ...]:
    """Make the workers of this role: one of `orders`, one for each ERP, one for what concerns several ERPs.

    The ERPs' queues have no workflows, so their activities are never started eagerly: a queue's rate limit always
    holds. `on_step` and `on_written` let a test strike at a named moment. `holds` is what the running checks
    close; without it nothing is held.
    """
    audits = AuditActivities(settings, connections, client, holds=holds)
    erp = ErpActivities(connections.erps, metrics, on_step=on_step, holds=holds)
    salesforce = SalesforceActivities(settings, connections.salesforce, metrics, on_written=on_written, holds=holds)
    sweeps = SweepActivities(settings, connections.salesforce, holds=holds)
    starts = SweepStarts(settings, connections.salesforce, client, metrics)
    alerts = AlertActivities(settings, client)
    of_erp: list[_Activity] = [
        erp.create_order, erp.cancel_order, erp.find_order, erp.find_orders, erp.follow_order, erp.resolve_order,
        audits.compare,
    ]  # fmt: skip
    of_orders: list[_Activity] = [
        salesforce.load_order, salesforce.write_back, MessageActivities(settings, client, metrics).read_again,
        sweeps.open_sweep, sweeps.read_page, starts.start_orders, alerts.raise_alert, alerts.alert, audits.report,
    ]  # fmt: skip
    make = partial(
        Worker,
        client,
        deployment_config=deployment(settings),
        graceful_shutdown_timeout=settings.workers.shutdown_grace,
        on_fatal_error=on_fatal_error,
    )
    return (
        make(
            task_queue=names.ORDERS_QUEUE,
            workflows=_WORKFLOWS,
            workflow_runner=WORKFLOW_RUNNER,
            activities=of_orders,
            max_concurrent_activities=settings.workers.concurrent_salesforce_calls,
            max_concurrent_workflow_tasks=_TASKS,
            max_concurrent_local_activities=_TASKS,
        ),
        *(
            make(
                task_queue=names.erp_queue(name),
                activities=of_erp,
                max_concurrent_activities=_concurrent_calls(settings, name),
            )
            for name in (*connections.erps, None)
        ),
    )


def _concurrent_calls(settings: Settings, erp: str | None) -> int:
    """How many activities of an ERP's queue run at the same time; None, the queue of several ERPs: what each bears."""
    allowed = [one.concurrent_calls for one in settings.erps if erp in (None, one.name)]
    return settings.workers.concurrent_erp_calls or min(allowed, default=1)
