"""The audit as the final check of tests that kill processes, lose replies and cancel orders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from temporalio.client import Client

from closedwon.audit.collect import AuditConnections, audit
from closedwon.audit.compare import AuditReport, Counts
from closedwon.settings import Settings

LONG_AGO = datetime.now(UTC) - timedelta(days=30)


async def look(settings: Settings, connections: AuditConnections, client: Client) -> AuditReport:
    """Everything that was ever in this world, also what was changed just now."""
    return await audit(settings, connections, client, since=LONG_AGO, lag=timedelta(0))


def story(report: AuditReport) -> str:
    """What disagrees and what is under way, a line each."""
    lines = [f"{report.counts}"]
    for what, findings in (("DISAGREES", report.findings), ("under way", report.under_way)):
        lines += [
            f"{what}  {one.kind}  {one.record}: Salesforce: {one.salesforce} | ERP: {one.erp} | {one.workflow}"
            for one in findings
        ]
    return "\n".join(lines)


def assert_clean(report: AuditReport, *, won: int, cancelled: int = 0) -> None:
    """Fail, with the findings, unless the given numbers of deals have one order each and the three systems agree."""
    left = won - cancelled
    expected = Counts(won=won, ordered=left, written_back=left, cancelled=cancelled)
    assert report.clean, story(report)
    assert not report.under_way, story(report)
    assert expected == report.counts, story(report)
