"""One subscription to one event bus channel of one org: keeps the cursor while readers come and go.

A single activity without an end does the reading (`activities.subscription`). This workflow makes its position durable
and reacts to what the reader cannot resolve:

1. Run the activity with the newest cursor. It returns at least once an hour, with a cursor that this run stores.
2. If the result names a gap (a span of events that cannot be replayed), note it and start its sweep at once. The gap
   stays open here until that sweep signals that it is covered (`workflows.sweep`).
3. If the result asks for a rest (delivery limit), wait, or until `retry` is sent.
4. If the activity fails for good (the bus refuses our user, a setting is wrong), raise one alert and rest, then try
   again: an administrator may have corrected the cause.
5. Before the history grows too long, continue as a new run with cursor, gaps and alert.

The cursor is stored twice: in the heartbeats of the activity, which is newer, and here, which survives the end of the
activity. An activity that ends brings it along, as its result or with its failure. A new activity begins with the one
stored here; a new attempt of the same activity begins with its heartbeat.

The first cursor of a new subscription has no replay id, but the time at which the subscription began. Without that
time, events that expire before the first reader connects would be lost without a gap.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.subscription import SubscriptionActivities
    from closedwon import names
    from closedwon.model.alerts import AlertSubject
    from closedwon.model.subscriptions import Cursor, Subscribe, Subscribed, Subscription
    from closedwon.model.sweeps import Gap
    from closedwon.safe_text import markdown, markdown_code
    from workflows.alerts import Alerts
    from workflows.problems import problem_of
    from workflows.sweep import sweep_gap

_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=2)
)
"""For a reader that was killed, after its heartbeat timeout. The maximum interval is short, since attempts are counted
from one hand-over of the cursor to the next: after some routine interruptions, even the first crash of a reader is
followed by the maximum pause. A failure of the reader itself brings its own delay (`activities.subscription`)."""
_FIRST_REST: Final = timedelta(seconds=10)
_LONGEST_REST: Final = timedelta(minutes=5)
"""How long a refused subscription rests, unless `retry` is sent: an administrator may correct the cause meanwhile. The
time doubles from one refusal to the next, until a reader has read."""


@workflow.defn(name=names.SUBSCRIPTION_WORKFLOW)
class SubscriptionWorkflow:
    """Reads one channel indefinitely."""

    @workflow.init
    def __init__(self, subscription: Subscription) -> None:
        """Take over what the previous run carried."""
        self._subscription = subscription
        self._retry = False
        self._refusals = 0
        self._alerts = Alerts(
            AlertSubject(kind="subscription", org=subscription.org, channel=subscription.channel), subscription
        )
        self._show("Reading.")

    @workflow.signal(name=names.SIGNAL_RETRY, description="Connect again now. Input: nothing, or a reason.")
    def retry(self, *given: Any) -> None:
        """End the rest after a refusal."""
        del given
        self._retry = True

    @workflow.signal(name=names.SIGNAL_GAP_COVERED, description="A sweep has covered a gap. Input: its workflow id.")
    def gap_covered(self, sweep: Any = None) -> None:
        """Close a gap."""
        now = self._subscription
        gaps = tuple(gap for gap in now.gaps if self._sweep_of(gap) != sweep)
        self._subscription = now.model_copy(update={"gaps": gaps})
        self._show(self._headline)

    @workflow.query(description="The position up to which every event is durably a workflow, as last handed over.")
    def cursor(self) -> Cursor:
        """Return the cursor."""
        return self._subscription.cursor

    @workflow.query(description="Stretches of the bus that could not be replayed and await a sweep.")
    def gaps(self) -> tuple[Gap, ...]:
        """Return the open gaps."""
        return self._subscription.gaps

    @workflow.run
    async def run(self, subscription: Subscription) -> None:
        """Read, take the cursor over, read on."""
        del subscription  # held since __init__
        now = self._subscription
        if now.cursor == Cursor():  # what is published from here on is ours to miss
            begun = Cursor(caught_up_at=workflow.now())
            self._subscription = now.model_copy(update={"cursor": begun})
        while not workflow.info().is_continue_as_new_suggested():
            await self._read_once()
        carried = self._alerts.carried
        workflow.continue_as_new(
            self._subscription.model_copy(update={"alerted": carried.alerted, "alert_raising": carried.alert_raising})
        )

    async def _read_once(self) -> None:
        now = self._subscription
        try:
            result = await workflow.execute_activity_method(
                SubscriptionActivities.subscribe,
                Subscribe(org=now.org, channel=now.channel, cursor=now.cursor),
                activity_id="subscribe",
                summary=f"read {now.channel} after {now.cursor.replay_id or 'the earliest retained event'}",
                schedule_to_close_timeout=timedelta(days=3650),
                heartbeat_timeout=now.heartbeat_timeout,
                retry_policy=_RETRY,
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            await self._rest(error)
            return
        if result.has_connected:
            self._alerts.over()
            self._refusals = 0
        await self._take_over(result)

    async def _take_over(self, result: Subscribed) -> None:
        now = self._subscription
        gaps = (*now.gaps, result.gap) if result.gap else now.gaps
        self._subscription = now.model_copy(update={"cursor": result.cursor, "gaps": gaps})
        if result.gap is not None and result.gap.route is not None:
            await sweep_gap(now.org, result.gap, subscription=workflow.info().workflow_id)
        if result.rest is not None and result.gap is not None:
            self._show(f"Resting: {result.gap.note}")
            await self._wait(result.rest)
        self._show("Reading.")

    def _sweep_of(self, gap: Gap) -> str:
        return names.gap_workflow_id(self._subscription.org, gap.route or "", gap.since, gap.until)

    async def _rest(self, error: ActivityError) -> None:
        """Wait after a refusal that needs a person, then try again from where the reader was."""
        cursor = _cursor_in(error)
        if cursor is not None:
            if _position(cursor) != _position(self._subscription.cursor):
                self._refusals = 0
            self._subscription = self._subscription.model_copy(update={"cursor": cursor})
        problem = problem_of(error)
        self._show(
            f"**Needs attention** (`{problem.reason}`): {markdown(problem.message)}\n\n- **What to do**: "
            f"{markdown(problem.hint)}"
        )
        self._alerts.notify(problem)
        rest = min(_FIRST_REST * 2 ** min(self._refusals, 10), _LONGEST_REST)
        self._refusals += 1
        await self._wait(rest)

    async def _wait(self, longest: timedelta) -> None:
        self._retry = False
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._retry, timeout=longest, timeout_summary="rest, then connect")

    def _show(self, headline: str) -> None:
        self._headline = headline
        now = self._subscription
        position = markdown_code(now.cursor.replay_id) if now.cursor.replay_id else "the earliest retained event"
        gaps = "\n".join(
            f"- **open gap** {gap.since or 'unknown'} to {gap.until}, `{gap.reason}`: {markdown(gap.note)}"
            for gap in now.gaps
        )
        workflow.set_current_details(
            f"### {headline}\n\n- **Channel** `{now.channel}`\n- **Cursor** (handed over) {position}, "
            f"{now.cursor.count} events\n- The live cursor: heartbeat of the pending activity `subscribe`.\n{gaps}"
        )


def _position(cursor: Cursor) -> tuple[object, ...]:
    """What changes only when a reader has read."""
    return cursor.replay_id, cursor.count, cursor.caught_up_at


def _cursor_in(error: ActivityError) -> Cursor | None:
    """The cursor that a failed reader has left, if it had begun to read."""
    if isinstance(error.cause, ApplicationError):
        with suppress(ValidationError, IndexError):
            return Cursor.model_validate(error.cause.details[1])
    return None
