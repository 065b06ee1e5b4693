"""The safety checks of a running worker: is this the org that is meant, do the names exist, does the ERP fit?

`closedwon config check` asks once, before the start; orgs and ERPs change afterwards: a sandbox is refreshed, a field
is renamed, a right is taken away. So each process that works on orders asks the same at its start and every 15 minutes
(`of_systems`); while a check fails, it is repeated after 10 seconds, then at doubling intervals of at most 5 minutes.
Processes that work on orders or take messages also check what is theirs (`of_settings`): whether the file of a secret
holds a weak one by now, and whether any sender can push to a route. A check has three results:

- *passed*: orders go on;
- *failed*: the system answers, and a person must correct something. The routes of that org, or the orders for that
  ERP, are held (`activities.holds`), and one workflow per check (`workflows.hold`) raises one alert for all processes.
  Nothing is stopped: messages are accepted, and orders go on by themselves when the check passes;
- *unknown*: no answer, throttled, too slow. What was known before stays; without a result before, orders go on, and the
  check is repeated soon. A check must not turn an outage into a hold. The org itself is never unknown: a login that is
  not proven to be for the org of `orgs.id` gives no token (`closedwon.salesforce.api.auth`). A refusal that may end by
  itself (`DoubtfulError`) is unknown for ten minutes, then the check has failed: a little before the orders that meet
  it lose their patience (`activities.doubts`), so that none of them needs a person.

While any sender can push to the routes of an org, intake refuses what proves nothing: what it accepted would count when
the hold is over.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from activities.holds import Holds
from closedwon import names
from closedwon.encryption.codec import CodecError
from closedwon.errors import AttentionError, ClosedwonError, DoubtfulError
from closedwon.ids import OrgId
from closedwon.model.checks import FailedCheck, Hold
from closedwon.salesforce.errors import WrongOrgError
from closedwon.streaks import WHILE, Streaks
from closedwon.telemetry.metrics import Metrics
from workers.running_checks import Group, RunningCheck

_log = logging.getLogger(__name__)

INTERVAL: Final = timedelta(minutes=15)
_SOON: Final = timedelta(minutes=1)
"""From a round in which something was not known, or could not be reported, to the next."""
_FAILING: Final = (timedelta(seconds=10), timedelta(minutes=5))
"""From a round in which something fails to the next: the first pause, from which it doubles, and the longest."""
_LONGEST: Final = 10.0
"""Seconds for one check. All run side by side, so that this is also how long they can delay a worker's start."""
_DOUBTED_FOR: Final = WHILE - timedelta(minutes=5)
"""For how long a refusal that may end by itself counts as unknown: some rechecks less than an order waits."""

Wait = Callable[[timedelta], Awaitable[object]]
"""Returns when it is time for the next round."""


async def pause(time: timedelta) -> None:
    """Wait about `time`: processes that were started together do not ask together. Production."""
    await asyncio.sleep(time.total_seconds() * random.uniform(0.9, 1.1))  # noqa: S311 - no secret


@asynccontextmanager
async def checking(checks: Checks, *, wait: Wait = pause) -> AsyncIterator[None]:
    """Check before a block begins, and on and on during it. A test brings a `wait` of its own."""
    await checks.round()
    going_on = asyncio.create_task(_go_on(checks, wait))
    try:
        yield
    finally:
        going_on.cancel()
        await asyncio.wait({going_on})


async def _go_on(checks: Checks, wait: Wait) -> None:
    while True:
        await checks.until_next(wait)
        try:
            await checks.round()
        except Exception:  # noqa: BLE001 - whatever it is, rounds must go on
            _log.exception("a round of safety checks breaks; the next one is made as usual")


class Checks:
    """The checks of one process. Never raises: a check that breaks stops no process."""

    def __init__(
        self,
        client: Client,
        groups: Sequence[Group],
        holds: Holds,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` returns seconds and never runs backwards."""
        self._client = client
        self._holds = holds
        self._metrics = metrics
        self._verdicts: dict[str, bool] = {}
        """By workflow id: whether the check has passed when it was last known, and was reported."""
        self._groups = [(group, asyncio.Lock()) for group in groups]
        """A round and a recheck may want the same group at the same time: it is checked by one after the other."""
        self._doubts = Streaks(clock)
        """Of each check, by its workflow id: since when it has met a refusal that may end by itself."""
        self._failing_rounds = 0
        self._newly_held = asyncio.Event()
        """Set when a check begins to fail; the next pause is then short."""
        self._in_doubt: dict[str, tuple[float, asyncio.Task[None]]] = {}
        """By org and ERP: when it was last checked for a refused order, and that check."""
        self.all_is_known = False
        """Whether each check had a result in the last round, and the result was reported."""

    async def round(self) -> None:
        """Check everything once, in at most about ten seconds per check of an org."""
        self.all_is_known = all(await asyncio.gather(*(self._group(group, lock) for group, lock in self._groups)))
        self._failing_rounds = self._failing_rounds + 1 if False in self._verdicts.values() else 0
        self._newly_held.clear()

    async def until_next(self, wait: Wait) -> None:
        """Wait until it is time for a round. What a recheck holds meanwhile is checked again as soon as a round's."""
        while await _is_cut_short(wait(self.pause()), self._newly_held):
            self._newly_held.clear()
            self._failing_rounds = 1

    def pause(self) -> timedelta:
        """The time from the last round to the next: orders that are held go on soon after the cause is gone."""
        if self._failing_rounds:
            first, longest = _FAILING
            return min(first * (1 << min(self._failing_rounds - 1, 10)), longest)
        return INTERVAL if self.all_is_known else _SOON

    async def recheck(self, org: OrgId) -> None:
        """Check an org at once: it has refused an order as a failed check would. At most once a minute; callers share.

        Never raises. If the check fails, the next round comes soon.
        """
        await self._recheck(org, lambda check: check.org is not None and check.org.id == org)

    async def recheck_erp(self, erp: str) -> None:
        """As `recheck`, for an ERP."""
        await self._recheck(f"erp {erp}", lambda check: check.erp == erp)

    async def _recheck(self, key: str, is_meant: Callable[[RunningCheck], bool]) -> None:
        now = asyncio.get_running_loop().time()
        at, task = self._in_doubt.get(key, (-_SOON.total_seconds(), None))
        if task is None or (task.done() and now - at >= _SOON.total_seconds()):
            task = asyncio.create_task(self._check_those(is_meant))
            self._in_doubt[key] = (now, task)
        await asyncio.shield(task)

    async def _check_those(self, is_meant: Callable[[RunningCheck], bool]) -> None:
        for group, lock in self._groups:
            if any(is_meant(check) for check in group):
                await self._group(group, lock)

    async def _group(self, group: Group, lock: asyncio.Lock) -> bool:
        """Return whether each check had a known result, and it was reported."""
        async with lock:
            return await self._check_in_turn(group)

    async def _check_in_turn(self, group: Group) -> bool:
        for check in group:
            try:
                failed = await self._result(check)
            except _NoResultError as error:
                _log.info("the check %s of %s has no result (%s)", check.name, check.subject, error)
                return False
            if not await self._note(check, failed):
                return False
            if failed is not None:
                return True
        return True

    async def _result(self, check: RunningCheck) -> FailedCheck | None:
        """Run a check. Raises `_NoResultError`."""
        try:
            async with asyncio.timeout(_LONGEST):
                await check.run()
        except (AttentionError, WrongOrgError) as error:
            self._doubts.end(check.workflow_id)
            return check.failed(error)
        except TimeoutError:
            raise _NoResultError(f"no answer within {_LONGEST:.0f} s") from None
        except DoubtfulError as error:
            if self._doubts.left(check.workflow_id, _DOUBTED_FOR):
                raise _NoResultError(f"{error}; that may end by itself") from None
            return check.failed(error.attention)
        except ClosedwonError as error:
            raise _NoResultError(str(error)) from None
        except Exception as error:
            raise _NoResultError(f"it fails with {type(error).__name__}") from error
        self._doubts.end(check.workflow_id)
        return None

    async def _note(self, check: RunningCheck, failed: FailedCheck | None) -> bool:
        """Close or open the gate, then report; return whether that was possible."""
        self._metrics.check_failed.set(int(failed is not None), {"check": check.name, "subject": check.subject})
        self._turn(check, failed)
        before = self._verdicts.get(check.workflow_id)
        if failed is not None and before is not False:
            _log.error("held: %s: %s (%s)", check.subject, failed.text, failed.hint)
            self._newly_held.set()
        if failed is None and before is False:
            _log.info("%s is held no more: the check %s passes", check.subject, check.name)
        self._verdicts[check.workflow_id] = failed is None
        try:
            if failed is not None:
                await self._report(check, failed.model_copy(update={"by": self._client.identity}))
            elif before is not True:
                await self._report_passed(check)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported again
            is_rpc = isinstance(error, RPCError)
            why = error.status.name if isinstance(error, RPCError) else type(error).__name__
            _log.warning("cannot report the check %s of %s: %s", check.name, check.subject, why, exc_info=not is_rpc)
            self._verdicts.pop(check.workflow_id, None)
            return False
        return True

    def _turn(self, check: RunningCheck, failed: FailedCheck | None) -> None:
        if check.org is not None:
            if failed is None:
                self._holds.release_org(check.org, check.name)
            else:
                self._holds.hold_org(check.org, failed)
        elif check.erp is not None:
            if failed is None:
                self._holds.release_erp(check.erp, check.name)
            else:
                self._holds.hold_erp(check.erp, failed)

    async def _report(self, check: RunningCheck, failed: FailedCheck) -> None:
        """The first process begins the one workflow of this check; each round, and each other process, signals it."""
        await self._client.start_workflow(
            names.HOLD_WORKFLOW,
            Hold(failed=failed, alerted=await self._alerted_lately(check, failed)),
            id=check.workflow_id,
            task_queue=names.ORDERS_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal=names.SIGNAL_CHECK_FAILED,
            start_signal_args=[failed],
            static_summary=f"{check.subject} is held: the check of its {check.name} fails",
            memo={names.MEMO_HOLD: failed},
        )

    async def _alerted_lately(self, check: RunningCheck, failed: FailedCheck) -> str | None:
        """Return the reason that was alerted for this very failure, where a process that passes has ended its hold.

        Processes disagree while they are restarted with other settings: one failure is still one alert.
        """
        handle = self._client.get_workflow_handle(check.workflow_id)
        try:
            last = await handle.describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise
        if last.status is not WorkflowExecutionStatus.COMPLETED or last.close_time is None:
            return None
        try:
            known = await last.memo_value(names.MEMO_HOLD, None, type_hint=FailedCheck)
            if known is None or known.text != failed.text or datetime.now(UTC) - last.close_time > 2 * INTERVAL:
                return None
            run = self._client.get_workflow_handle(check.workflow_id, run_id=last.run_id, result_type=str)
            return await run.result() or None
        except CodecError:  # it was encrypted with a key that is gone: an alert too many is better than none
            return None

    async def _report_passed(self, check: RunningCheck) -> None:
        """Also at the start: the process that had found it may be the one that was restarted with other settings."""
        try:
            await self._client.get_workflow_handle(check.workflow_id).signal(names.SIGNAL_CHECK_PASSED)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise


async def _is_cut_short(pausing: Awaitable[object], by: asyncio.Event) -> bool:
    """Return whether the event came before the end of the pause."""
    waiting = {asyncio.ensure_future(pausing), asyncio.create_task(by.wait())}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return by.is_set()
    finally:
        for one in waiting:
            one.cancel()


class _NoResultError(Exception):
    """The check has no result."""
