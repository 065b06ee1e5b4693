"""Running checks for tests: workers behind a gate, rounds when a test says so, and fields that vanish."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
from pydantic import SecretStr
from temporalio.common import MetricMeter

from activities.holds import Holds
from closedwon import names
from closedwon.emulators.salesforce.org import EmulatedOrg
from closedwon.settings import AlertSettings, Settings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS
from tests.support.handoff import Handoff, until
from tests.support.receiver import Receiver
from workers.checks import Checks, checking
from workers.connections import Connections
from workers.lasting import NamespaceWait
from workers.orders import order_workers
from workers.running_checks import Group, of_settings, of_systems
from workers.subscriber import start_subscriptions, subscription_worker

CALLOUT_KEY = "a key of one test: 0123456789 abcdefghij"


async def never(_time: timedelta) -> None:
    """No round comes by itself."""
    await asyncio.get_running_loop().create_future()


def everything(settings: Settings, connections: Connections) -> list[Group]:
    """All checks of a process with all roles."""
    return [*of_settings(settings), *of_systems(settings, connections)]


@asynccontextmanager
async def checked(
    world: Handoff,
    *,
    subscriber: bool = True,
    meter: MetricMeter = MetricMeter.noop,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Checks]:
    """Workers as a process runs them, with checks at the start and at each `round()` of the test."""
    metrics, holds = Metrics(meter), Holds()
    async with AsyncExitStack() as stack:
        world.connections = await stack.enter_async_context(Connections(world.settings))
        if subscriber:
            await stack.enter_async_context(
                subscription_worker(
                    world.client, world.settings, world.connections, metrics, NamespaceWait(world.client)
                )
            )
            await start_subscriptions(world.client, world.settings)
        checks = Checks(world.client, everything(world.settings, world.connections), holds, metrics, clock=clock)
        holds.in_doubt, holds.erp_in_doubt = checks.recheck, checks.recheck_erp
        await stack.enter_async_context(checking(checks, wait=never))
        for worker in order_workers(world.client, world.settings, world.connections, metrics, holds=holds):
            await stack.enter_async_context(worker)
        yield checks


@asynccontextmanager
async def another(world: Handoff) -> AsyncIterator[Checks]:
    """The checks of a second process; its workers would do the same work as those of the first."""
    async with Connections(world.settings) as connections:
        checks = Checks(world.client, everything(world.settings, connections), Holds(), Metrics(MetricMeter.noop))
        async with checking(checks, wait=never):
            yield checks


@asynccontextmanager
async def alerting(world: Handoff) -> AsyncIterator[Receiver]:
    """A webhook that gets the alerts of the world."""
    hook = Receiver()
    await hook.start()
    world.settings = world.settings.model_copy(
        update={"alerts": AlertSettings(webhook=SecretStr(hook.url), key=SecretStr("k" * 32))}
    )
    try:
        yield hook
    finally:
        await hook.stop()


async def call_out(address: str, org: str, record: str) -> int:
    """A signed callout about one record, as Apex sends it; the status of its answer."""
    body = json.dumps({"org": org, "records": [{"recordId": record, "id": f"job-1/{record}"}]}).encode()
    timestamp = str(int(time.time()))
    digest = hmac.new(CALLOUT_KEY.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-Closedwon-Timestamp": timestamp,
        "X-Closedwon-Signature": f"v1={digest}",
    }
    async with aiohttp.request("POST", f"{address}/callouts/won-0", data=body, headers=headers) as answer:
        return answer.status


async def waits_for(world: Handoff, workflow_id: str) -> str:
    """Why the newest attempt of a workflow's activity failed; empty where none has."""
    described = await world.client.get_workflow_handle(workflow_id).describe()
    for pending in described.raw_description.pending_activities:
        if pending.HasField("last_failure"):
            return str(await world.client.data_converter.decode_failure(pending.last_failure))
    return ""


async def holds(world: Handoff) -> list[str]:
    """The workflow ids of the open holds."""
    return [
        one.id
        async for one in world.client.list_workflows(
            f"WorkflowType = '{names.HOLD_WORKFLOW}' AND ExecutionStatus = 'Running'"
        )
    ]


async def until_held(world: Handoff, *workflow_ids: str) -> None:
    """Wait until exactly these holds are open: Temporal's list lags behind."""

    async def are_open() -> bool:
        return await holds(world) == [*workflow_ids]

    await until(are_open)


async def needed_attention(world: Handoff) -> int:
    """How many order workflows have ever had a reason for attention."""
    await world.until_listed()
    number = 0
    async for one in world.client.list_workflows(f"WorkflowType = '{names.ORDER_WORKFLOW}'"):
        history = await world.client.get_workflow_handle(one.id, run_id=one.run_id).fetch_history()
        upserts = [event.upsert_workflow_search_attributes_event_attributes for event in history.events]
        stage = SEARCH_ATTRIBUTE_KEYS[names.ORDER_STAGE].name
        number += any(b"attention" in each.search_attributes.indexed_fields[stage].data for each in upserts)
    return number


@contextmanager
def changed(org: EmulatedOrg, object_name: str, field: str, **changes: Any) -> Iterator[None]:
    """An administrator changes a field for a while; without changes it is renamed, deleted or hidden from our user."""
    owner: Any = org.schema.find(object_name)
    before, was = owner.fields, owner.find(field)
    now = [replace(was, **changes)] if changes else []
    object.__setattr__(owner, "fields", (*(one for one in before if one is not was), *now))
    del owner._index[field.lower()]
    owner._index.update({field.lower(): one for one in now})
    try:
        yield
    finally:
        object.__setattr__(owner, "fields", before)
        owner._index[field.lower()] = was
