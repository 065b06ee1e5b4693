"""A note in Temporal's list of workflows: a safety check fails, and orders of an org or an ERP wait for it.

Every worker process checks for itself (`workers.checks`) and holds by what it finds; this workflow holds nothing. It
makes of the reports of any number of processes one alert and one line for `closedwon doctor` and `closedwon top`. It
ends when a process reports that the check passes, or when no process has reported for `_SILENCE`: those that found it
are gone then.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from closedwon import names
    from closedwon.model.alerts import AlertSubject
    from closedwon.model.checks import FailedCheck, Hold
    from closedwon.model.order_state import Problem
    from closedwon.safe_text import markdown
    from workflows.alerts import Alerts

_SILENCE: Final = timedelta(hours=1)
"""Four rounds of checks."""


@workflow.defn(name=names.HOLD_WORKFLOW)
class HoldWorkflow:
    """Open for as long as the check fails."""

    @workflow.init
    def __init__(self, hold: Hold) -> None:
        """Show what is wrong."""
        self._has_passed = False
        self._is_silent = True
        self._failed = hold.failed
        self._alerts = Alerts(AlertSubject(kind="check", org=hold.failed.org, erp=hold.failed.erp), hold)
        self._show()

    @workflow.signal(name=names.SIGNAL_CHECK_FAILED, description="A worker reports that the check fails.")
    def failed(self, failed: FailedCheck) -> None:
        """Keep the newest report."""
        self._is_silent = False
        if failed.text != self._failed.text:
            self._failed = failed
            workflow.upsert_memo({names.MEMO_HOLD: failed})
            self._show()

    @workflow.signal(name=names.SIGNAL_CHECK_PASSED, description="A worker reports that the check passes.")
    def passed(self, *given: Any) -> None:
        """End."""
        del given
        self._has_passed = True

    @workflow.run
    async def run(self, hold: Hold) -> str | None:
        """Alert once, and wait for the end of it. Returns the reason that was alerted, if that is certain.

        A process with other settings may end it while the check still fails elsewhere: then the next run must know.
        """
        del hold  # held since __init__
        self._alerts.notify(
            Problem(reason=self._failed.reason, message=self._failed.text, hint=self._failed.hint),
            text=self._failed.text,
        )
        while not self._has_passed:
            self._is_silent = True
            try:
                await workflow.wait_condition(lambda: self._has_passed or not self._is_silent, timeout=_SILENCE)
            except TimeoutError:
                break
            if workflow.info().is_continue_as_new_suggested() and not self._has_passed:
                carried = self._alerts.carried
                workflow.continue_as_new(
                    Hold(failed=self._failed, alerted=carried.alerted, alert_raising=carried.alert_raising)
                )
        carried = self._alerts.carried
        return carried.alerted if carried.alert_raising is None else None

    def _show(self) -> None:
        failed = self._failed
        workflow.set_current_details(
            f"### {failed.subject}: the check of its {failed.check} fails\n\n- **What** {markdown(failed.text)}\n"
            f"- **Hint** {markdown(failed.hint)}\n- **Found by** {failed.by}\n"
            "- Orders wait; they go on by themselves when the check passes. Nothing is lost."
        )
