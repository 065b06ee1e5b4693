"""The worker of the subscriptions, and the start of one subscription workflow per org and channel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.worker import Worker

from activities.messages import MessageActivities
from activities.subscription import SubscriptionActivities
from closedwon import names
from closedwon.model.subscriptions import Subscription
from closedwon.settings import Org, Settings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.channels import is_known
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS
from workers.connections import Connections
from workers.deployment import deployment
from workers.lasting import LastingWorker, NamespaceWait
from workers.sandbox import WORKFLOW_RUNNER
from workflows.subscription import SubscriptionWorkflow

_log = logging.getLogger(__name__)

_THROTTLE: Final = timedelta(seconds=5)
"""How often a cursor that moves reaches the server at most: what a crash can make the next reader read again. One that
stands still is sent less often (`activities.subscription.CursorPace`)."""


@asynccontextmanager
async def subscription_worker(
    client: Client, settings: Settings, connections: Connections, metrics: Metrics, wait: NamespaceWait
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Run the worker of this role during a block; what is yielded ends it before."""
    stopping = asyncio.Event()
    messages = MessageActivities(settings, client, metrics)
    subscription = SubscriptionActivities(settings, messages, connections.open_stream, stopping)
    worker = Worker(
        client,
        task_queue=names.SUBSCRIBER_QUEUE,
        workflows=[SubscriptionWorkflow],
        workflow_runner=WORKFLOW_RUNNER,
        activities=[subscription.subscribe],
        max_heartbeat_throttle_interval=min(_THROTTLE, settings.subscriber.heartbeat_timeout / 3),
        deployment_config=deployment(settings),
        graceful_shutdown_timeout=settings.workers.shutdown_grace,
        on_fatal_error=wait,
    )

    async def end() -> None:
        stopping.set()
        await lasting.shutdown()

    async with LastingWorker(worker, wait) as lasting:
        try:
            yield end
        finally:
            stopping.set()


async def start_subscriptions(client: Client, settings: Settings) -> None:
    """See to it that every channel of every route has its subscription; running ones are left alone."""
    for org, channel in _channels(settings):
        workflow_id = await _start(client, settings, org, channel)
        _log.info("subscription %s is running", workflow_id)


async def restore_subscriptions(client: Client, settings: Settings) -> list[str]:
    """Start the subscriptions that Temporal does not know, and return their ids; only reads where it knows all.

    One that has ended stays so: a person has ended it. Raises Temporal's `RPCError`.
    """
    return [
        await _start(client, settings, org, channel)
        for org, channel in _channels(settings)
        if not await is_known(client, org.id, channel)
    ]


def _channels(settings: Settings) -> Iterator[tuple[Org, str]]:
    for route in settings.routes:
        for channel in route.events:
            yield settings.org(route.org), channel


async def _start(client: Client, settings: Settings, org: Org, channel: str) -> str:
    workflow_id = names.subscription_workflow_id(org.id, channel)
    await client.start_workflow(
        SubscriptionWorkflow.run,
        Subscription(org=org.id, channel=channel, heartbeat_timeout=settings.subscriber.heartbeat_timeout),
        id=workflow_id,
        task_queue=names.SUBSCRIBER_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        static_summary=f"reads {channel} of org {org.name}",
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.SALESFORCE_ORG_ID], org.id)]
        ),
    )
    return workflow_id
