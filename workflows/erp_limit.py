"""A note in Temporal's list of workflows: an ERP is paused, limited or not reached. It limits nothing itself.

The limit is that of the ERP's task queue; Temporal's UI does not show it. What sets it (`closedwon.operations.erps` for
operators, `workers.breaker`) begins this workflow beside it and ends it with the limit.
"""

from __future__ import annotations

from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from closedwon import names
    from closedwon.model.erp import ErpLimit
    from closedwon.safe_text import markdown


@workflow.defn(name=names.ERP_LIMIT_WORKFLOW)
class ErpLimitWorkflow:
    """Open for as long as the limit holds."""

    @workflow.init
    def __init__(self, limit: ErpLimit) -> None:
        """Say what holds."""
        self._is_lifted = False
        end = f"**When it may go on**: `closedwon erp resume {limit.erp}`"
        if limit.by_breaker:
            end = (
                "One order tries every ten seconds. When one gets through, the others follow, more and more at once. "
                f"To send all of them now: `closedwon erp resume {limit.erp}`"
            )
        workflow.set_current_details(
            f"### {markdown(limit.text)}\n\n- **Why** {markdown(limit.reason)}\n- **By** {markdown(limit.by)}\n"
            f"- **Since** {workflow.now():%Y-%m-%d %H:%M} UTC\n"
            f"- Orders wait; nothing fails, nothing is lost.\n- {end}"
        )

    @workflow.signal(name=names.SIGNAL_LIFTED, description="`closedwon erp resume` sends it; it lifts no limit itself.")
    def lifted(self, *given: Any) -> None:
        """The limit holds no more."""
        del given
        self._is_lifted = True

    @workflow.run
    async def run(self, limit: ErpLimit) -> None:
        """Wait for the end of the limit."""
        del limit  # held since __init__
        await workflow.wait_condition(lambda: self._is_lifted)
