"""The scheduled audit of an org, and what it finds: one workflow per kind of finding, open while there is any.

The audit changes nothing. What it finds of one kind is one alert, however many records there are and however many
audits find them; it is over when an audit finds none any more. The next audit begins a little before the last one
ended, and looks again at every record about which something disagreed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.audits import AuditActivities
    from closedwon import names
    from closedwon.errors import AttentionReason
    from closedwon.model.alerts import AlertSubject
    from closedwon.model.audits import AuditFinding, Compared, CompareRecords, OpenFinding, ScheduledAudit
    from closedwon.model.order_state import Problem
    from closedwon.names import OrderStage
    from closedwon.safe_text import markdown
    from workflows.alerts import Alerts
    from workflows.patience import patience
    from workflows.problems import problem_of

_PACE: Final = patience(timedelta(hours=2))
_LOOK_AGAIN: Final = timedelta(hours=1)
"""How long an audit that a person must help rests, unless `retry` is sent."""
_STAGE = SearchAttributeKey.for_keyword(names.ORDER_STAGE)
_REASON = SearchAttributeKey.for_keyword(names.ATTENTION_REASON)

_Result = TypeVar("_Result")


@workflow.defn(name=names.AUDIT_WORKFLOW)
class AuditWorkflow:
    """Compares all that was changed since the last audit."""

    @workflow.init
    def __init__(self, start: ScheduledAudit) -> None:
        """Begin."""
        self._retry = False
        self._alerts = Alerts(AlertSubject(kind="audit", org=start.org))

    @workflow.signal(name=names.SIGNAL_RETRY, description="Try again now. Input: nothing, or a reason.")
    def retry(self, *given: Any) -> None:
        """End a rest."""
        del given
        self._retry = True

    @workflow.run
    async def run(self, start: ScheduledAudit) -> Compared:
        """Compare, report, and return what the next audit must know."""
        before = None
        if workflow.has_last_completion_result():
            before = workflow.get_last_completion_result(Compared)
        request = CompareRecords(org=start.org)
        if before is not None:
            request = CompareRecords(org=start.org, mark=before.mark, known=before.known)
        compared: Compared = await self._step(
            lambda: workflow.execute_activity_method(
                AuditActivities.compare,
                request,
                task_queue=names.erp_queue(None),
                summary="compare Salesforce, the ERPs and Temporal",
                **_PACE,
            )
        )
        await self._step(
            lambda: workflow.execute_activity_method(
                AuditActivities.report, compared, summary="report what disagrees, by kind", **_PACE
            )
        )
        workflow.set_current_details(_details(compared))
        return compared

    async def _step(self, run: Callable[[], Awaitable[_Result]]) -> _Result:
        """Run an activity to its end; where a person must help, rest and try again."""
        while True:
            try:
                result = await run()
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                await self._rest(problem_of(error))
            else:
                self._alerts.over()
                return result

    async def _rest(self, problem: Problem) -> None:
        workflow.upsert_search_attributes([_STAGE.value_set(OrderStage.ATTENTION), _REASON.value_set(problem.reason)])
        self._alerts.notify(problem)
        workflow.set_current_details(
            f"### Needs attention (`{problem.reason}`)\n\n{markdown(problem.message)}\n\n- **What to do**: "
            f"{markdown(problem.hint)}"
        )
        self._retry = False
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._retry, timeout=_LOOK_AGAIN, timeout_summary="rest, then try again"
            )
        workflow.upsert_search_attributes([_STAGE.value_unset(), _REASON.value_unset()])


@workflow.defn(name=names.AUDIT_FINDING_WORKFLOW)
class AuditFindingWorkflow:
    """Open for as long as the audits of an org find something of one kind."""

    @workflow.init
    def __init__(self, opened: OpenFinding) -> None:
        """Show what was found."""
        self._finding = finding = opened.finding
        self._alerts = Alerts(AlertSubject(kind="audit", org=finding.org), opened)
        self._is_long = False
        self._show()

    @workflow.signal(name=names.SIGNAL_AUDITED, description="What the newest audit has found of this kind.")
    def audited(self, finding: AuditFinding) -> None:
        """Keep the newest."""
        self._is_long = workflow.info().is_continue_as_new_suggested()
        if finding != self._finding:
            self._finding = finding
            workflow.upsert_memo({names.MEMO_FINDING: finding})
            self._show()

    @workflow.run
    async def run(self, opened: OpenFinding) -> None:
        """Alert once, and wait until an audit finds none any more."""
        del opened  # held since __init__
        self._alerts.notify(
            Problem(reason=AttentionReason.AUDIT_FINDINGS, message=self._finding.text, hint=self._finding.hint),
            text=self._finding.text,
        )
        await workflow.wait_condition(lambda: self._is_long or not self._finding.number)
        if self._finding.number:
            carried = self._alerts.carried
            workflow.continue_as_new(
                OpenFinding(finding=self._finding, alerted=carried.alerted, alert_raising=carried.alert_raising)
            )

    def _show(self) -> None:
        found = self._finding
        examples = ", ".join(f"`{record}`" for record in found.examples)
        more = ", …" if found.number > len(found.examples) else ""
        workflow.set_current_details(
            f"### {found.number} {found.kind}\n\n- **What** {found.title}\n- **Records** {examples}{more}\n"
            f"- **Hint** {found.hint}\n- `closedwon audit` names all; this ends when an audit finds none any more."
        )


def _details(compared: Compared) -> str:
    """What an audit has found, in Markdown."""
    found = [f"- **{one.number}** {one.title} (`{one.kind}`)" for one in compared.findings if one.number]
    seen = f"{compared.records} records were compared; {compared.under_way} are under way"
    return "\n".join([f"### {seen}", "", *(found or ["Nothing disagrees."])])
