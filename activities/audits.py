"""The scheduled audit of one org: compare what changed since the last one, and report what disagrees, by kind.

It changes nothing, neither in Salesforce nor in an ERP. It asks ERPs, so it runs on the queue of what concerns several
of them: their pauses and limits hold for it, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Final

from temporalio import activity
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from activities.failures import errors_as_failures
from activities.heartbeats import heartbeating
from activities.holds import Holds
from activities.passing import RefusalsOfOrg, not_here
from activities.sweeps import check_api_quota
from closedwon import names
from closedwon.audit.collect import AuditConnections, audit
from closedwon.audit.compare import Finding
from closedwon.audit.kinds import KINDS, FindingKind
from closedwon.ids import OrgId, RecordId
from closedwon.model.audits import AuditFinding, Compared, CompareRecords, OpenFinding
from closedwon.names import RecordKey
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.settings import Settings
from closedwon.temporal.audits import audit_attributes

_DATE: Final = timedelta(seconds=1)
"""The precision of Salesforce's clock as its answers say it."""
_MOST_KNOWN: Final = 2000
"""The most records that the next audit is given: some 50 kB of a history."""
_EXAMPLES: Final = 5


class AuditActivities:
    """Compares, and reports."""

    def __init__(
        self, settings: Settings, connections: AuditConnections, client: Client, *, holds: Holds | None = None
    ) -> None:
        """Take the clients of all three sides."""
        self._settings = settings
        self._connections = connections
        self._temporal = client
        self._holds = holds or Holds()
        self._refusals = RefusalsOfOrg(self._holds)

    @activity.defn
    async def compare(self, request: CompareRecords) -> Compared:
        """Audit the org; waits while its API calls are used up to `audit.api_share`, or while it is held."""
        with errors_as_failures():
            async with heartbeating():
                return await self._compare(request)

    @activity.defn
    async def report(self, compared: Compared) -> None:
        """Begin, keep or end the workflow of each kind of finding. Safe to repeat."""
        with errors_as_failures():
            for finding in compared.findings:
                await (self._found(finding) if finding.number else self._over(finding))

    async def _compare(self, request: CompareRecords) -> Compared:
        settings = self._of_org(request.org)
        for route in settings.routes:
            self._holds.check(route)
        for erp in settings.erps:
            self._holds.check_erp(erp.name)
        schedule, now = settings.audit, await self._connections.salesforce[request.org].ask_now()
        # A mark in the future was set by a clock that was ahead: what lies between was never looked at.
        mark = request.mark if request.mark is not None and request.mark <= now + _DATE else None
        auditing = audit(
            settings,
            self._connections,
            self._temporal,
            since=now - schedule.lookback if mark is None else mark - schedule.overlap,
            lag=schedule.lag,
            also=[RecordKey(request.org, record) for record in request.known],
            orphans=request.org == self._settings.orgs[0].id,  # an ERP does not know which org's they are
            only_swept=True,
            check_quota=self._check_quota,
        )
        report = await self._refusals.held(auditing, request.org)
        known = _records((*report.findings, *report.under_way))
        is_all = len(known) <= _MOST_KNOWN
        return Compared(
            mark=now if is_all else mark,
            known=known[:_MOST_KNOWN],
            findings=tuple(_by_kind(request.org, report.findings)),
            records=report.looked_at["records"],
            under_way=len(_records(report.under_way)),
        )

    def _of_org(self, org: OrgId) -> Settings:
        """The settings of one org alone."""
        found = [one for one in self._settings.orgs if one.id == org]
        if not found:
            otherwise = "; or delete its schedule, so that it does not begin again, and cancel this audit"
            raise not_here("org", org, "orgs", otherwise=otherwise)
        routes = tuple(route for route in self._settings.routes if route.org == found[0].name)
        return self._settings.model_copy(update={"orgs": tuple(found), "routes": routes})

    async def _check_quota(self, client: SalesforceClient) -> None:
        await check_api_quota(client, self._settings.audit.api_share, setting="audit.api_share")

    async def _found(self, finding: AuditFinding) -> None:
        await self._temporal.start_workflow(
            names.AUDIT_FINDING_WORKFLOW,
            OpenFinding(finding=finding),
            id=names.audit_finding_workflow_id(finding.org, finding.kind),
            task_queue=names.ORDERS_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal=names.SIGNAL_AUDITED,
            start_signal_args=[finding],
            static_summary=f"the audit finds {finding.kind}",
            memo={names.MEMO_FINDING: finding},
            search_attributes=audit_attributes(finding.org),
        )

    async def _over(self, finding: AuditFinding) -> None:
        handle = self._temporal.get_workflow_handle(names.audit_finding_workflow_id(finding.org, finding.kind))
        try:
            await handle.signal(names.SIGNAL_AUDITED, finding)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise


def _by_kind(org: OrgId, findings: Iterable[Finding]) -> Iterator[AuditFinding]:
    """One for every kind that there is, also for those of which nothing was found: they are over."""
    by_kind: defaultdict[FindingKind, list[Finding]] = defaultdict(list)
    for one in findings:
        by_kind[one.kind].append(one)
    for kind, meaning in KINDS.items():
        records = _records(by_kind[kind])
        yield AuditFinding(
            org=org,
            kind=kind,
            number=len(records),
            examples=records[:_EXAMPLES],
            title=meaning.title,
            hint=meaning.hint,
        )


def _records(findings: Iterable[Finding]) -> tuple[RecordId, ...]:
    return tuple(sorted({one.record for one in findings}))
