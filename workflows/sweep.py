"""A sweep of one route: what Salesforce has is compared with what the ERP knows, and what is missing is started.

Three kinds run the same way: on a schedule, from where the last one ended; over a span that a person names; and over a
gap, which is open as long as its sweep is. A sweep goes by the time of a record's last change. One that changes while
it is read moves to the end, behind the span: so the sweep of a gap reads on to the present, and what changes after that
is the business of the next scheduled sweep. A sweep never fails for good: it waits for what a person must correct.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError, WorkflowAlreadyStartedError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.erp import ErpActivities
    from activities.sweep_starts import SweepStarts
    from activities.sweeps import SweepActivities
    from closedwon import names
    from closedwon.ids import OrgId, RecordId
    from closedwon.model.alerts import AlertSubject
    from closedwon.model.erp import CANCELLED_UNQUALIFIED, DECLINED_STATUSES, KEPT_UNQUALIFIED, ErpStatus
    from closedwon.model.erp_calls import FindOrders, KnownOrder
    from closedwon.model.orders import idempotency_key
    from closedwon.model.sweeps import (
        Gap,
        GapReason,
        OpenedSweep,
        OpenSweep,
        OrdersStarted,
        PageRead,
        ReadPage,
        SeenRecord,
        StartOrders,
        SweepProgress,
        SweepStart,
    )
    from closedwon.names import OrderStage
    from closedwon.safe_text import markdown
    from closedwon.telemetry.metrics import Metrics
    from closedwon.temporal.orders import BELOW_LIVE_TRAFFIC
    from closedwon.temporal.sweeps import sweep_attributes
    from workflows.alerts import Alerts
    from workflows.patience import TAKEN_WITHIN, patience, was_not_taken
    from workflows.problems import problem_of

_PACE: Final = patience(timedelta(minutes=30))
"""A query job over a whole org takes its time; a dead worker is noticed by its heartbeat."""
_LOOK_AGAIN: Final = timedelta(minutes=15)
"""How long a sweep that a person must help rests, unless `retry` is sent."""
_MESSAGES_LIVE: Final = timedelta(hours=24)
"""Salesforce delivers an outbound message for so long."""
_EXAMPLES: Final = 20
_TAKEN: Final = frozenset(status.value for status in ErpStatus if status.exists_as_order)

_STAGE = SearchAttributeKey.for_keyword(names.ORDER_STAGE)
_REASON = SearchAttributeKey.for_keyword(names.ATTENTION_REASON)

_Result = TypeVar("_Result")


def is_right(seen: SeenRecord, known: Sequence[KnownOrder] | None, *, numbered: bool) -> bool:
    """Whether a record and the ERP agree, as far as a sweep looks: an order where one should be, and none elsewhere.

    `known` None: the ERP was not asked, and need not be where the record proves that its order was declined. A status
    without that proof may have been copied: then only a cancelled order under the record's own key agrees with it. An
    ERP may give its orders no numbers.
    """
    if _is_proven_end(seen):
        return True
    if known is None:
        return False
    all_cancelled = all(order.cancelled for order in known)
    if not _wants_order(seen):
        return all_cancelled
    if seen.status in DECLINED_STATUSES:
        return bool(known) and all_cancelled
    if is_missing(seen, numbered=numbered):
        return False
    return any(not order.cancelled and (not numbered or order.number == seen.number) for order in known)


def is_missing(seen: SeenRecord, *, numbered: bool) -> bool:
    """Whether the record alone shows that its workflow must run, so that the ERP need not be asked."""
    if not numbered or not _wants_order(seen) or seen.status in DECLINED_STATUSES:
        return False
    is_unwritten = seen.number is None and seen.status not in _TAKEN
    return is_unwritten or seen.status == CANCELLED_UNQUALIFIED  # won again: its order is wanted, too


def _wants_order(seen: SeenRecord) -> bool:
    return seen.qualifies and not seen.deleted


def _is_proven_end(seen: SeenRecord) -> bool:
    """Whether the record proves that its order was declined, or cancelled or kept though the deal asks for none now."""
    is_settled = seen.status in {CANCELLED_UNQUALIFIED, KEPT_UNQUALIFIED} and not _wants_order(seen)
    return seen.is_proven and (seen.status in DECLINED_STATUSES or is_settled)


@workflow.defn(name=names.SWEEP_WORKFLOW)
class SweepWorkflow:
    """Finds what was lost."""

    @workflow.init
    def __init__(self, start: SweepStart) -> None:
        """Take over what the previous run carried."""
        self._start = start
        self._progress = start.carried or SweepProgress()
        self._opened: OpenedSweep | None = None
        self._metrics = Metrics(workflow.metric_meter())
        self._alerts = Alerts(AlertSubject(kind="sweep", org=start.org, route=start.route), start)
        self._retry = False
        self._show("Beginning")

    @workflow.signal(name=names.SIGNAL_RETRY, description="Try again now. Input: nothing, or a reason.")
    def retry(self, *given: Any) -> None:
        """End a rest."""
        del given
        self._retry = True

    @workflow.query(name=names.QUERY_PROGRESS, description="How far the sweep has come, in numbers of records.")
    def progress(self) -> SweepProgress:
        """Return the counts so far."""
        return self._progress

    @workflow.run
    async def run(self, start: SweepStart) -> SweepProgress:
        """Read the span, page by page, and start what is missing; return what was found."""
        del start  # held since __init__
        try:
            opened = self._opened = await self._open()
            while self._progress.reading is not None:
                page = await self._read(opened)
                await self._compare(opened, page.seen)
                self._progress = self._progress.model_copy(update={"reading": page.reading})
                self._show("Sweeping")
                self._continue_if_long()
        except asyncio.CancelledError:
            await self._close_gap()  # an operator has decided
            raise
        await self._close_gap()
        await self._report_expired_messages()
        self._count("found", self._progress.found)
        self._show("Done")
        return self._progress

    async def _open(self) -> OpenedSweep:
        """Fix the span, or take over the one of the run before."""
        carried, last = self._start.carried, None
        if self._start.since is None and self._start.gap is None:
            last = workflow.get_last_completion_result(SweepProgress)
        start, mark = self._start, last.until if last else None
        request = OpenSweep(
            org=start.org, route=start.route, since=start.since, until=start.until, mark=mark, gap=start.gap
        )
        opened: OpenedSweep = await self._step(
            lambda: workflow.execute_activity_method(
                SweepActivities.open_sweep, request, summary="fix the span", **_PACE
            )
        )
        if carried is not None and carried.since is not None and carried.until is not None:
            return opened.model_copy(update={"since": carried.since, "until": carried.until})
        self._progress = SweepProgress(
            since=opened.since, until=opened.until, total=opened.total, reading=opened.reading
        )
        return opened

    async def _read(self, opened: OpenedSweep) -> PageRead:
        assert self._progress.reading is not None
        request = ReadPage(
            org=self._start.org,
            route=self._start.route,
            since=opened.since,
            until=opened.until,
            reading=self._progress.reading,
        )
        page: PageRead = await self._step(
            lambda: workflow.execute_activity_method(
                SweepActivities.read_page, request, summary=f"read on after {self._progress.found}", **_PACE
            )
        )
        return page

    async def _compare(self, opened: OpenedSweep, seen: Sequence[SeenRecord]) -> None:
        """Start what is missing; first the records for which the ERP, which may be down, need not be asked."""
        numbered = opened.numbered
        missing = [one for one in seen if is_missing(one, numbered=numbered)]
        await self._start_orders(opened, missing)
        rest = [one for one in seen if not is_missing(one, numbered=numbered)]
        known = await self._known(opened, [one for one in rest if not is_right(one, None, numbered=numbered)])
        wrong = [one for one in rest if not is_right(one, known.get(one.record), numbered=numbered)]
        await self._start_orders(opened, wrong)
        self._add(SweepProgress(found=len(seen), right=len(rest) - len(wrong)))
        self._count("right", len(rest) - len(wrong))

    async def _known(self, opened: OpenedSweep, seen: Sequence[SeenRecord]) -> dict[RecordId, list[KnownOrder]]:
        """What the ERPs know of these records."""
        known: dict[RecordId, list[KnownOrder]] = {one.record: [] for one in seen}
        keys = {idempotency_key(self._start.org, one.record): one.record for one in seen}
        for erp in opened.erps if keys else ():
            for key, orders in (await self._ask(FindOrders(erp=erp, keys=tuple(keys)))).items():
                known[keys[key]] += orders
        return known

    async def _ask(self, request: FindOrders) -> dict[str, list[KnownOrder]]:
        """Ask an ERP on its own queue; if no worker takes that, on the queue of all workers, who ask all of their ERPs.

        Otherwise this sweep, and so all later ones of its route, would wait for the queue of an ERP that was renamed.
        """

        def ask(queue: str, taken_within: timedelta | None) -> Awaitable[dict[str, list[KnownOrder]]]:
            return workflow.execute_activity_method(
                ErpActivities.find_orders,
                request,
                task_queue=queue,
                summary=f"ask {request.erp} for {len(request.keys)} orders",
                schedule_to_start_timeout=taken_within,
                **_PACE,
            )

        async def ask_somewhere() -> dict[str, list[KnownOrder]]:
            try:
                return await ask(names.erp_queue(request.erp), TAKEN_WITHIN)
            except ActivityError as error:
                if not was_not_taken(error):
                    raise
                return await ask(names.erp_queue(None), None)

        return await self._step(ask_somewhere)

    async def _start_orders(self, opened: OpenedSweep, records: Sequence[SeenRecord]) -> None:
        if not records:
            return
        request = StartOrders(
            org=self._start.org, route=self._start.route, records=tuple(records), dry_run=self._start.dry_run
        )
        done: OrdersStarted = await self._step(
            lambda: workflow.execute_activity_method(
                SweepStarts.start_orders, request, summary=f"start {len(records)} orders", **_PACE
            )
        )
        self._add(
            SweepProgress(
                started=done.started,
                under_way=done.under_way,
                attention=done.attention,
                unqualified=done.unqualified,
                right=done.kept_by_operator,
                examples=done.examples,
            )
        )
        self._count("started", done.started)
        self._count("under-way", done.under_way)
        self._count("attention", done.attention)
        self._count("unqualified", done.unqualified)
        if opened.pushed and done.oldest is not None:
            self._note_expired(done)

    async def _step(self, run: Callable[[], Awaitable[_Result]]) -> _Result:
        """Run an activity to its end; where a person must help, rest and try again."""
        while True:
            try:
                result = await run()
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                await self._rest(error)
            else:
                self._alerts.over()
                return result

    async def _rest(self, error: ActivityError) -> None:
        problem = problem_of(error)
        workflow.upsert_search_attributes([_STAGE.value_set(OrderStage.ATTENTION), _REASON.value_set(problem.reason)])
        self._metrics.attention.add(1, {"reason": problem.reason})
        self._alerts.notify(problem)
        self._show(f"**Needs attention** (`{problem.reason}`): {problem.message}\n\n- **What to do**: {problem.hint}")
        self._retry = False
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._retry, timeout=_LOOK_AGAIN, timeout_summary="rest, then try again"
            )
        workflow.upsert_search_attributes([_STAGE.value_unset(), _REASON.value_unset()])
        self._continue_if_long()
        self._show("Sweeping")

    def _continue_if_long(self) -> None:
        """Begin a new run before the history grows too long: Temporal ends one that rests for weeks by force.

        A scheduled sweep that has not begun to read does not: the next one begins where the last has ended anyway.
        """
        is_anchored = bool(self._start.since or self._start.gap or self._progress.reading)
        if is_anchored and workflow.info().is_continue_as_new_suggested():
            alerts = self._alerts.carried
            carried = {
                "carried": self._progress,
                "alerted": alerts.alerted,
                "alert_raising": alerts.alert_raising,
            }
            workflow.continue_as_new(self._start.model_copy(update=carried))

    def _note_expired(self, done: OrdersStarted) -> None:
        """Note records whose outbound message must have expired in Salesforce: no notification arrived in time."""
        is_scheduled = self._start.since is None and self._start.gap is None
        first_sweep = not workflow.has_last_completion_result()
        if is_scheduled and not first_sweep and done.oldest and done.oldest < workflow.now() - _MESSAGES_LIVE:
            now = self._progress
            self._progress = now.model_copy(
                update={"expired_since": min(done.oldest, now.expired_since or done.oldest)}
            )

    async def _report_expired_messages(self) -> None:
        """Open a gap for outbound messages that have expired: others of that time may have done so, too."""
        if self._progress.expired_since is None or self._start.dry_run:
            return
        gap = Gap(
            since=self._progress.expired_since,
            until=workflow.now() - _MESSAGES_LIVE,
            reason=GapReason.MESSAGES_EXPIRED,
            route=self._start.route,
            note="a sweep found records whose outbound message is older than Salesforce delivers it",
        )
        self._metrics.gaps.add(1, {"reason": gap.reason})
        await sweep_gap(self._start.org, gap)

    async def _close_gap(self) -> None:
        """Signal the subscription, which may have ended, that its gap is closed."""
        if self._start.subscription is None:
            return
        subscription = workflow.get_external_workflow_handle(self._start.subscription)
        with suppress(ApplicationError):
            await subscription.signal(names.SIGNAL_GAP_COVERED, workflow.info().workflow_id)

    def _add(self, more: SweepProgress) -> None:
        now = self._progress
        self._progress = now.model_copy(
            update={
                "found": now.found + more.found,
                "started": now.started + more.started,
                "right": now.right + more.right,
                "under_way": now.under_way + more.under_way,
                "attention": now.attention + more.attention,
                "unqualified": now.unqualified + more.unqualified,
                "examples": (now.examples + more.examples)[:_EXAMPLES],
            }
        )
        self._show("Sweeping")

    def _count(self, outcome: str, records: int) -> None:
        if records and not self._start.dry_run:
            self._metrics.swept.add(records, {"route": self._start.route, "outcome": outcome})

    def _show(self, headline: str) -> None:
        now, gap = self._progress, self._start.gap
        lines = [f"### {headline}", f"- **Route** `{self._start.route}`" + (", dry run" if self._start.dry_run else "")]
        if gap is not None:
            lines.append(
                f"- **Gap** {_moment(gap.since)} to {_moment(gap.until)}, `{gap.reason}`: {markdown(gap.note)}"
            )
        if now.since is not None:
            lines.append(f"- **Span** {_moment(now.since)} to {_moment(now.until)}")
            total = "" if now.total is None else f" of {now.total}"
            lines.append(
                f"- **Records** {now.found}{total} looked at: {now.started} started, {now.right} right already, "
                f"{now.under_way} under way, {now.attention} in attention, {now.unqualified} not qualifying"
            )
        workflow.set_current_details("\n".join(lines))


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "unknown"


async def sweep_gap(org: OrgId, gap: Gap, *, subscription: str | None = None) -> str:
    """Start the sweep of a gap, which outlives the calling workflow; return its workflow id."""
    assert gap.route is not None
    workflow_id = names.gap_workflow_id(org, gap.route, gap.since, gap.until)
    with suppress(WorkflowAlreadyStartedError):
        await workflow.start_child_workflow(
            names.SWEEP_WORKFLOW,
            SweepStart(org=org, route=gap.route, gap=gap, subscription=subscription),
            id=workflow_id,
            task_queue=names.ORDERS_QUEUE,
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            memo={names.MEMO_GAP: gap},
            static_summary=f"gap of {gap.route}: {gap.reason}",
            search_attributes=sweep_attributes(org, gap.route),
            priority=BELOW_LIVE_TRAFFIC,
        )
    return workflow_id
