"""The safety checks of a running worker: is this the org that is meant, do the names exist, does the ERP fit?

`closedwon config check` asks once, before the start; orgs and ERPs change afterwards: a sandbox is refreshed, a field
is renamed, a right is taken away. So each process that works on orders asks the same at its start and every 15 minutes.
A check has three results:

- *passed*: orders go on;
- *failed*: the system answers, and a person must correct something. The routes of that org, or the orders for that
  ERP, are held (`activities.holds`), and one workflow per check (`workflows.hold`) raises one alert for all processes.
  Nothing is stopped: messages are accepted, and orders go on by themselves when the check passes;
- *unknown*: no answer, throttled, too slow. What was known before stays; without a result before, orders go on, and the
  check is repeated soon. A check must not turn an outage into a hold. The org itself is never unknown: a login that is
  not proven to be for the org of `orgs.id` gives no token (`closedwon.salesforce.auth`).

Cost per org and round: a describe for each object that routes read (an Opportunity with lines: four), and a query per
route; about five API calls, 480 a day and process. Describes are asked whole each time: `If-Modified-Since` saves no
call, and tells of changed metadata only, not of changed permissions.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, NamedTuple

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from activities.holds import CheckName, FailedCheck, Holds
from closedwon import names
from closedwon.errors import AttentionError, AttentionReason, ClosedwonError
from closedwon.ids import RecordId
from closedwon.salesforce.errors import WrongOrgError
from closedwon.salesforce.fields import Complaint, complaints_of
from closedwon.salesforce.rest import SalesforceClient
from closedwon.settings import Org, Route, Settings
from closedwon.telemetry import Metrics
from workers.connections import Connections
from workflows.hold import Hold

_log = logging.getLogger(__name__)

INTERVAL: Final = timedelta(minutes=15)
_SOON: Final = timedelta(minutes=1)
"""From a round in which something was not known, began to fail, or could not be reported, to the next."""
_LONGEST: Final = 10.0
"""Seconds for one check. All run side by side, so that this is also how long they can delay a worker's start."""
NO_RECORD: Final = RecordId("000000000000000")
"""A well-formed id that no record has: a query for it shows whether object and fields exist, and fetches nothing."""

Wait = Callable[[timedelta], Awaitable[object]]
"""Returns when it is time for the next round."""


async def pause(time: timedelta) -> None:
    """Wait about `time`: processes that were started together do not ask together. Production."""
    await asyncio.sleep(time.total_seconds() * random.uniform(0.9, 1.1))  # noqa: S311 - no secret


class _Check(NamedTuple):
    name: CheckName
    org: Org | None
    erp: str | None
    run: Callable[[], Awaitable[object]]
    """Raises when it fails, or cannot be answered."""

    @property
    def subject(self) -> str:
        return f"org {self.org.name}" if self.org is not None else f"erp {self.erp}"

    @property
    def workflow_id(self) -> str:
        return names.hold_workflow_id(self.name, str(self.org.id if self.org is not None else self.erp))


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
        await wait(INTERVAL if checks.all_is_known else _SOON)
        await checks.round()


class Checks:
    """The checks of one process. Never raises: a check that breaks stops no process."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        connections: Connections,
        holds: Holds,
        metrics: Metrics,
    ) -> None:
        """Take the gate to close, and the client by which Temporal hears of it."""
        self._client = client
        self._holds = holds
        self._metrics = metrics
        self._verdicts: dict[str, bool] = {}
        """By workflow id: whether the check has passed when it was last known, and was reported."""
        self._groups = [_of_org(org, settings, connections) for org in settings.orgs]
        self._groups += [(_of_erp(name, connections),) for name in connections.erps]
        self.all_is_known = False
        """Whether each check had a result in the last round, which Temporal has heard."""

    async def round(self) -> None:
        """Check everything once, in at most about ten seconds per check of an org."""
        self.all_is_known = all(await asyncio.gather(*(self._group(group) for group in self._groups)))

    async def _group(self, group: Sequence[_Check]) -> bool:
        """One after the other: who cannot log in learns nothing of fields.

        A check that begins to fail counts as not known yet: it is repeated soon, in case that it failed by chance.
        """
        for check in group:
            try:
                failed = await _result(check)
            except _UnknownError as error:
                _log.info("the check %s of %s has no result (%s)", check.name, check.subject, error)
                return False
            is_news = failed is not None and self._verdicts.get(check.workflow_id) is not False
            if not await self._note(check, failed) or is_news:
                return False
            if failed is not None:
                return True
        return True

    async def _note(self, check: _Check, failed: FailedCheck | None) -> bool:
        """Close or open the gate, then report; return whether that was possible."""
        self._metrics.check_failed.set(int(failed is not None), {"check": check.name, "subject": check.subject})
        self._turn(check, failed)
        before = self._verdicts.get(check.workflow_id)
        if failed is not None and before is not False:
            _log.error("held: %s: %s (%s)", check.subject, failed.text, failed.hint)
        if failed is None and before is False:
            _log.info("%s is held no more: the check %s passes", check.subject, check.name)
        self._verdicts[check.workflow_id] = failed is None
        try:
            if failed is not None:
                await self._report(check, failed.model_copy(update={"by": self._client.identity}))
            elif before is not True:
                await self._report_passed(check)
        except RPCError as error:
            _log.warning("cannot report the check %s of %s: %s", check.name, check.subject, error.status.name)
            self._verdicts.pop(check.workflow_id)
            return False
        return True

    def _turn(self, check: _Check, failed: FailedCheck | None) -> None:
        if check.org is not None:
            if failed is None:
                self._holds.release_org(check.org, check.name)
            else:
                self._holds.hold_org(check.org, failed)
        elif check.erp is not None:
            if failed is None:
                self._holds.release_erp(check.erp)
            else:
                self._holds.hold_erp(check.erp, failed)

    async def _report(self, check: _Check, failed: FailedCheck) -> None:
        """The first process begins the one workflow of this check; each round, and each other process, signals it."""
        await self._client.start_workflow(
            names.HOLD_WORKFLOW,
            Hold(failed=failed),
            id=check.workflow_id,
            task_queue=names.ORDERS_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal=names.SIGNAL_CHECK_FAILED,
            start_signal_args=[failed],
            static_summary=f"{check.subject} is held: the check of its {check.name} fails",
            memo={names.MEMO_HOLD: failed},
        )

    async def _report_passed(self, check: _Check) -> None:
        """Also at the start: the process that had found it may be the one that was restarted with other settings."""
        try:
            await self._client.get_workflow_handle(check.workflow_id).signal(names.SIGNAL_CHECK_PASSED)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise


class _UnknownError(Exception):
    """The check has no result."""


async def _result(check: _Check) -> FailedCheck | None:
    """Run a check. Raises `_UnknownError`."""
    try:
        async with asyncio.timeout(_LONGEST):
            await check.run()
    except (AttentionError, WrongOrgError) as error:
        return FailedCheck(
            check=check.name,
            subject=check.subject,
            org=check.org.id if check.org is not None else None,
            erp=check.erp,
            reason=error.reason if isinstance(error, AttentionError) else AttentionReason.CONFIGURATION,
            text=str(error),
            hint=error.cure,
        )
    except TimeoutError:
        raise _UnknownError(f"no answer within {_LONGEST:.0f} s") from None
    except ClosedwonError as error:
        raise _UnknownError(str(error)) from None
    except Exception as error:
        raise _UnknownError(f"it fails with {type(error).__name__}") from error
    return None


def _of_org(org: Org, settings: Settings, connections: Connections) -> tuple[_Check, ...]:
    client = connections.salesforce[org.id]
    routes = [route for route in settings.routes if route.org == org.name]

    async def fields() -> None:
        found = await complaints_of(routes, client.describe)
        wrong = [(route, one) for route in routes for one in found[route.name] if one.holds]
        if wrong:
            raise as_error(*wrong[0], more=len(wrong) - 1)
        for route in routes:
            await read_nothing(client, route)

    return (_Check("login", org, None, client.log_in), _Check("fields", org, None, fields))


def _of_erp(name: str, connections: Connections) -> _Check:
    return _Check("erp", None, name, connections.erps[name].check)


async def read_nothing(client: SalesforceClient, route: Route) -> None:
    """Send the route's query for no record: the org refuses names that SOQL does not know."""
    await client.read(route.object, route.query_fields, NO_RECORD)


def as_error(route: Route, complaint: Complaint, *, more: int = 0) -> AttentionError:
    """The error that says what a complaint says, and how many there are besides."""
    text = f"Route {route.name!r}, {complaint.key}: {complaint.text}"
    if more:
        text += f" (and {more} more; `closedwon config check` lists them)"
    return AttentionError(text, reason=complaint.reason, cure=complaint.hint)
