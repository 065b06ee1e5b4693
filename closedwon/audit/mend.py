"""What `closedwon audit --fix` does: let the workflows of the records that disagree look again.

Nothing else is changed, neither in Salesforce nor in an ERP: a workflow does what it always does, and says why where
it cannot. What a look does not cure stays for a person.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from closedwon.acceptance import Notification, accept
from closedwon.audit.gather import OnProgress, quiet
from closedwon.audit.judge import Finding, Report
from closedwon.model import Channel

if TYPE_CHECKING:
    from temporalio.client import Client

    from closedwon.settings import Settings

_AT_A_TIME: Final = 20


async def mend(settings: Settings, client: Client, report: Report, *, on_progress: OnProgress = quiet) -> int:
    """Start or signal the workflow of every record whose disagreement a look may cure; return how many there are.

    Safe to repeat. Raises Temporal's `RPCError`.
    """
    curable = {(one.org, one.record): one for one in report.findings if one.fixable}
    gate = asyncio.Semaphore(_AT_A_TIME)

    async def start(finding: Finding) -> None:
        route = settings.route(finding.route or "")
        notification = Notification(
            finding.record, f"audit-{uuid.uuid4()}", Channel.OPERATOR, received_at=datetime.now(UTC)
        )
        async with gate:
            await accept(client, settings, route, notification)
        on_progress("started", 1)

    await asyncio.gather(*(start(finding) for finding in curable.values()))
    return len(curable)
