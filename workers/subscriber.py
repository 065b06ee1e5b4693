"""The worker of the subscriptions, and the start of one subscription workflow per org and channel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.worker import Worker

from activities.messages import MessageActivities
from activities.subscription import SubscriptionActivities
from closedwon import names, temporal
from closedwon.settings import Settings
from closedwon.telemetry import Metrics
from workers.connections import Connections
from workers.deployment import deployment
from workflows.subscription import Subscription, SubscriptionWorkflow

_log = logging.getLogger(__name__)

_THROTTLE: Final = timedelta(seconds=5)
"""How often the cursor reaches the server at most: what a crash can make the next reader read again."""


@asynccontextmanager
async def subscription_worker(
    client: Client, settings: Settings, connections: Connections, metrics: Metrics
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Run the worker of this role during a block; what is yielded ends it before."""
    stopping = asyncio.Event()
    messages = MessageActivities(settings, client, metrics)
    subscription = SubscriptionActivities(settings, messages, connections.open_stream, stopping)
    worker = Worker(
        client,
        task_queue=names.SUBSCRIBER_QUEUE,
        workflows=[SubscriptionWorkflow],
        activities=[subscription.subscribe],
        max_heartbeat_throttle_interval=_THROTTLE,
        deployment_config=deployment(settings),
        graceful_shutdown_timeout=settings.workers.shutdown_grace,
    )

    async def end() -> None:
        stopping.set()
        await worker.shutdown()

    async with worker:
        try:
            yield end
        finally:
            stopping.set()


async def start_subscriptions(client: Client, settings: Settings) -> None:
    """See to it that every channel of every route has its subscription; running ones are left alone."""
    for route in settings.routes:
        org = settings.org(route.org)
        for channel in route.events:
            workflow_id = names.subscription_workflow_id(org.id, channel)
            await client.start_workflow(
                SubscriptionWorkflow.run,
                Subscription(org=org.id, channel=channel, heartbeat_timeout=settings.subscriber.heartbeat_timeout),
                id=workflow_id,
                task_queue=names.SUBSCRIBER_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=f"reads {channel} of org {org.name}",
                search_attributes=TypedSearchAttributes(
                    [SearchAttributePair(temporal.KEYS[names.SALESFORCE_ORG_ID], org.id)]
                ),
            )
            _log.info("subscription %s is running", workflow_id)
