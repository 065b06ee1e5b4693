"""The worker of the orders: workflows and Salesforce activities on one queue, ERP activities on one per ERP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from temporalio.client import Client
from temporalio.worker import Worker

from activities.alerts import AlertActivities
from activities.audits import AuditActivities
from activities.erp import ErpActivities
from activities.holds import Holds
from activities.messages import MessageActivities
from activities.reconciliation import ReconciliationActivities
from activities.salesforce import OnWritten, SalesforceActivities, nothing
from activities.sweep_starts import SweepStarts
from closedwon import names
from closedwon.erp.base import OnStep, no_step
from closedwon.settings import Settings
from closedwon.telemetry import Metrics
from workers.connections import Connections
from workers.deployment import deployment
from workflows.alerts import AlertWorkflow
from workflows.audits import AuditFindingWorkflow, AuditWorkflow
from workflows.erp_limit import ErpLimitWorkflow
from workflows.hold import HoldWorkflow
from workflows.message import UnreadableMessageWorkflow
from workflows.order import OrderWorkflow
from workflows.reconciliation import ReconciliationWorkflow

_WORKFLOWS: Final = (
    OrderWorkflow,
    UnreadableMessageWorkflow,
    ReconciliationWorkflow,
    ErpLimitWorkflow,
    AlertWorkflow,
    HoldWorkflow,
    AuditWorkflow,
    AuditFindingWorkflow,
)


def order_workers(
    client: Client,
    settings: Settings,
    connections: Connections,
    metrics: Metrics,
    *,
    on_step: OnStep = no_step,
    on_written: OnWritten = nothing,
    holds: Holds | None = None,
) -> tuple[Worker, ...]:
    """Make the workers of this role: one of `orders`, one for each ERP, one for what concerns several ERPs.

    The ERPs' queues have no workflows, so their activities are never started eagerly: a queue's rate limit always
    holds. `on_step` and `on_written` let a test strike at a named moment. `holds` is what the running checks
    close; without it nothing is held.
    """
    salesforce = SalesforceActivities(settings, connections.salesforce, metrics, on_written=on_written, holds=holds)
    messages = MessageActivities(settings, client, metrics)
    sweeps = ReconciliationActivities(settings, connections.salesforce, holds=holds)
    starts = SweepStarts(settings, connections.salesforce, client, metrics)
    alerts = AlertActivities(settings, client)
    audits = AuditActivities(settings, connections, client, holds=holds)
    erp = ErpActivities(connections.erps, metrics, on_step=on_step, holds=holds)
    of_erp: list[Callable[..., Any]] = [
        erp.create_order,
        erp.cancel_order,
        erp.find_order,
        erp.find_orders,
        erp.follow_order,
        erp.resolve_order,
        audits.compare,
    ]
    shared: dict[str, Any] = {
        "deployment_config": deployment(settings),
        "graceful_shutdown_timeout": settings.workers.shutdown_grace,
    }
    return (
        Worker(
            client,
            task_queue=names.ORDERS_QUEUE,
            workflows=_WORKFLOWS,
            activities=[
                salesforce.load_order,
                salesforce.write_back,
                messages.read_again,
                sweeps.open_sweep,
                sweeps.read_page,
                starts.start_orders,
                alerts.raise_alert,
                alerts.alert,
                audits.report,
            ],
            max_concurrent_activities=settings.workers.concurrent_salesforce_calls,
            **shared,
        ),
        *(
            Worker(
                client,
                task_queue=names.erp_queue(name),
                activities=of_erp,
                max_concurrent_activities=settings.workers.concurrent_erp_calls,
                **shared,
            )
            for name in (*connections.erps, None)
        ),
    )
