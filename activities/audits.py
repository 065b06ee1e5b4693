"""The scheduled audit of one org: compare what changed since the last one, and report what disagrees, by kind.

It changes nothing, neither in Salesforce nor in an ERP. It asks ERPs, so it runs on the queue of what concerns several
of them: their pauses and limits hold for it, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from pydantic import AwareDatetime
from temporalio import activity
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from activities.failures import as_failures
from activities.holds import Holds
from activities.reconciliation import beating, spare
from closedwon import names, temporal
from closedwon.audit.gather import Connections, audit
from closedwon.audit.judge import Finding
from closedwon.audit.kinds import KINDS, Kind
from closedwon.errors import AttentionError, AttentionReason
from closedwon.ids import OrgId, RecordId
from closedwon.model import Frozen
from closedwon.names import RecordKey
from closedwon.salesforce.rest import SalesforceClient
from closedwon.settings import Settings
from closedwon.temporal import AuditFinding

_MOST_KNOWN: Final = 2000
"""Records that the next audit is told of: some 50 kB of a history."""
_EXAMPLES: Final = 5


class CompareBooks(Frozen):
    """What to compare: all that was changed in the org since `mark`, and some records more."""

    org: OrgId
    mark: AwareDatetime | None = None
    """Up to where the last audit has come; None: there is none, so the settings say how far to look back."""
    known: tuple[RecordId, ...] = ()
    """Records about which something disagreed, or did not agree yet, then."""


class Compared(Frozen):
    """What an audit has found, and what the next one must know."""

    mark: AwareDatetime | None = None
    """The next audit begins here. It stays where it was while there is more than `known` can name."""
    known: tuple[RecordId, ...] = ()
    findings: tuple[AuditFinding, ...] = ()
    records: int = 0
    """How many records were compared."""
    under_way: int = 0


class OpenFinding(Frozen):
    """The input of the workflow of one kind of finding."""

    finding: AuditFinding
    alerted: str | None = None
    """From the run before: the reason that was alerted already."""
    alert_raising: str | None = None
    """From the run before: the id of its alert, if that was just being raised."""


class AuditActivities:
    """Compares, and reports."""

    def __init__(
        self, settings: Settings, connections: Connections, client: Client, *, holds: Holds | None = None
    ) -> None:
        """Take the clients of all three sides."""
        self._settings = settings
        self._connections = connections
        self._temporal = client
        self._holds = holds or Holds()

    @activity.defn
    async def compare(self, request: CompareBooks) -> Compared:
        """Audit the org; waits while its API calls are used up to `audit.api_share`, or while it is held."""
        with as_failures():
            async with beating():
                return await self._compare(request)

    @activity.defn
    async def report(self, compared: Compared) -> None:
        """Begin, keep or end the workflow of each kind of finding. Safe to repeat."""
        with as_failures():
            for finding in compared.findings:
                await (self._found(finding) if finding.number else self._over(finding))

    async def _compare(self, request: CompareBooks) -> Compared:
        settings = self._of_org(request.org)
        for route in settings.routes:
            self._holds.check(route)
        for erp in settings.erps:
            self._holds.check_erp(erp.name)
        schedule, now = settings.audit, datetime.now(UTC)
        # A mark in the future was set by a clock that was ahead: what lies between was never looked at.
        mark = request.mark if request.mark is not None and request.mark <= now else None
        report = await audit(
            settings,
            self._connections,
            self._temporal,
            since=now - schedule.lookback if mark is None else mark - schedule.overlap,
            lag=schedule.lag,
            also=[RecordKey(request.org, record) for record in request.known],
            orphans=request.org == self._settings.orgs[0].id,  # an ERP does not know which org's they are
            only_swept=True,
            spare=self._spare,
        )
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
            raise AttentionError(
                f"This worker has no org {org}",
                reason=AttentionReason.CONFIGURATION,
                cure="Add it to `orgs` in closedwon.toml and restart the worker; or delete its schedule, so that it "
                "does not begin again, and cancel this audit.",
            )
        routes = tuple(route for route in self._settings.routes if route.org == found[0].name)
        return self._settings.model_copy(update={"orgs": tuple(found), "routes": routes})

    async def _spare(self, client: SalesforceClient) -> None:
        await spare(client, self._settings.audit.api_share, setting="audit.api_share")

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
            search_attributes=temporal.audit_attributes(finding.org),
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
    by_kind: defaultdict[Kind, list[Finding]] = defaultdict(list)
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
            hint=meaning.cure,
        )


def _records(findings: Iterable[Finding]) -> tuple[RecordId, ...]:
    return tuple(sorted({one.record for one in findings}))
