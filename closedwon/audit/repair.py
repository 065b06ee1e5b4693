"""Implement `closedwon audit --fix`: start the workflows of records with a fixable finding.

A workflow reads the record and the ERP again and does its normal work, or asks a person. Nothing else is changed in
Salesforce or in an ERP. Findings that a workflow cannot fix are left to a person.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from closedwon.acceptance import Notification, accept
from closedwon.audit.collect import OnProgress, no_progress
from closedwon.audit.compare import AuditReport, Finding
from closedwon.model.routes import Channel

if TYPE_CHECKING:
    from temporalio.client import Client

    from closedwon.settings import Settings

_AT_A_TIME: Final = 20


async def repair(
    settings: Settings, client: Client, report: AuditReport, *, on_progress: OnProgress = no_progress
) -> int:
    """Start or signal the workflow of every record with a fixable finding; return the number of these records.

    Safe to repeat. Raises Temporal's `RPCError`.
    """
    fixable = {(one.org, one.record): one for one in report.findings if one.fixable}
    gate = asyncio.Semaphore(_AT_A_TIME)

    async def start(finding: Finding) -> None:
        route = settings.route(finding.route or "")
        notification = Notification(
            finding.record, f"audit-{uuid.uuid4()}", Channel.OPERATOR, received_at=datetime.now(UTC)
        )
        async with gate:
            await accept(client, settings, route, notification)
        on_progress("started", 1)

    await asyncio.gather(*(start(finding) for finding in fixable.values()))
    return len(fixable)
