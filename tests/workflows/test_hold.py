"""The note that a safety check fails: opened once by any number of reports, closed by a pass or by silence."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio import activity
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from closedwon import names
from closedwon.errors import AttentionReason
from closedwon.ids import OrgId
from closedwon.model.alerts import Need
from closedwon.model.checks import FailedCheck, Hold
from tests.support.handoff import until
from tests.support.histories import keep_history
from workflows.hold import HoldWorkflow

_FAILED = FailedCheck(
    check="fields",
    subject="org production",
    org=OrgId("00D000000000001"),
    reason=AttentionReason.CONFIGURATION,
    text="Route 'won', qualify: Opportunity has no field isWon; it is IsWon",
    hint="Correct `qualify`.",
    by="closedwon orders 1@host",
)


class _Alerts:
    """What takes the alerts."""

    def __init__(self) -> None:
        self.needs: list[Need] = []

    @activity.defn
    async def raise_alert(self, need: Need) -> bool:
        """Take it."""
        self.needs.append(need)
        return True


@asynccontextmanager
async def _held(client: Client) -> AsyncIterator[tuple[WorkflowHandle[HoldWorkflow, str | None], _Alerts]]:
    alerts = _Alerts()
    async with Worker(client, task_queue=names.ORDERS_QUEUE, workflows=[HoldWorkflow], activities=[alerts.raise_alert]):
        handle = await client.start_workflow(
            HoldWorkflow.run,
            Hold(failed=_FAILED),
            id=names.hold_workflow_id("fields", uuid.uuid4().hex),
            task_queue=names.ORDERS_QUEUE,
            memo={names.MEMO_HOLD: _FAILED},
        )
        yield handle, alerts
        await keep_history(client, handle.id)


async def _details(handle: WorkflowHandle[HoldWorkflow, str | None]) -> str:
    metadata: WorkflowMetadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return str(metadata.current_details)


async def test_many_reports_are_one_alert_and_the_newest_is_shown(temporal_server: WorkflowEnvironment) -> None:
    """Other fields fail meanwhile: page and memo follow; the alert was raised already. A pass ends it."""
    more = _FAILED.model_copy(update={"text": "Route 'won', order.name: Opportunity has no field name; it is Name"})
    async with _held(temporal_server.client) as (handle, alerts):
        await until(lambda: alerts.needs)
        for failed in (_FAILED, more, more):
            await handle.signal(HoldWorkflow.failed, failed)

        async def shows_the_newest() -> bool:
            return more.text in await _details(handle)

        await until(shows_the_newest)
        memo = await (await handle.describe()).memo_value(names.MEMO_HOLD, type_hint=FailedCheck)
        await handle.signal(names.SIGNAL_CHECK_PASSED)
        assert _FAILED.reason == await handle.result()

    assert more == memo
    (need,) = alerts.needs
    assert ("check", _FAILED.text, _FAILED.org, handle.id) == (need.kind, need.text, need.org, need.workflow_id)


async def test_a_hold_that_no_process_reports_any_more_ends(skipping: WorkflowEnvironment) -> None:
    """The processes that found it are gone: nothing is held, and doctor must not say so for good."""
    async with _held(skipping.client) as (handle, _):
        await handle.result()
        ended = await handle.describe()
    assert ended.close_time is not None
    assert timedelta(hours=1) <= ended.close_time - ended.start_time < timedelta(hours=2)
