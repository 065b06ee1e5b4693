"""What the safety checks ask: of each org, of each ERP, and of the settings. `workers.checks` says when, and reports.

Cost per org and round: a describe for each object that routes read (an Opportunity with lines: four), and a query per
route; about five API calls, 480 a day and process. One more for an object of which the org has just refused to take
updates at all: no describe and no query shows that. Describes are asked whole each time: `If-Modified-Since` saves no
call, and reports changed metadata only, not changed permissions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import NamedTuple

from closedwon import names
from closedwon.errors import AttentionError, AttentionReason
from closedwon.model.checks import CheckName, FailedCheck
from closedwon.salesforce.api.fields import Complaint, complaints_of
from closedwon.salesforce.api.rest import NO_RECORD, SalesforceClient
from closedwon.salesforce.errors import WrongOrgError
from closedwon.settings import Org, Route, Settings
from closedwon.settings.guarding import Unsafe, intake_of_org, secrets_of_erp, secrets_of_org
from workers.connections import Connections

_log = logging.getLogger(__name__)


class RunningCheck(NamedTuple):
    """What is asked of one org or one ERP."""

    name: CheckName
    org: Org | None
    erp: str | None
    run: Callable[[], Awaitable[object]]
    """Raises when it fails, or cannot be answered."""

    @property
    def subject(self) -> str:
        """For people."""
        return f"org {self.org.name}" if self.org is not None else f"erp {self.erp}"

    @property
    def workflow_id(self) -> str:
        """Of the hold."""
        return names.hold_workflow_id(self.name, str(self.org.id if self.org is not None else self.erp))

    def failed(self, error: AttentionError | WrongOrgError) -> FailedCheck:
        """Say what it has found."""
        return FailedCheck(
            check=self.name,
            subject=self.subject,
            org=self.org.id if self.org is not None else None,
            erp=self.erp,
            reason=error.reason if isinstance(error, AttentionError) else AttentionReason.CONFIGURATION,
            text=str(error),
            hint=error.hint,
        )


Group = tuple[RunningCheck, ...]
"""Checks that are made one after the other: who cannot log in learns nothing of fields."""


def of_systems(settings: Settings, connections: Connections) -> list[Group]:
    """The checks that ask orgs and ERPs."""
    return [
        *(_of_org(org, settings, connections) for org in settings.orgs),
        *((RunningCheck("erp", None, name, erp.check),) for name, erp in connections.erps.items()),
    ]


def of_settings(settings: Settings) -> list[Group]:
    """The checks without requests: they read the files of secrets again, and check which senders can push to intake.

    Orgs that push nothing, and ERPs that sign nothing, have none.
    """
    push = {route.org for route in settings.routes if route.outbound is not None or route.callouts is not None}
    orgs = [org for org in settings.orgs if org.name in push and settings.intake is not None]
    checks = [
        *(RunningCheck("secrets", org, None, _UnsafeCheck(partial(secrets_of_org, settings, org))) for org in orgs),
        *(RunningCheck("intake", org, None, _UnsafeCheck(partial(intake_of_org, settings, org))) for org in orgs),
        *(
            RunningCheck("secrets", None, erp.name, _UnsafeCheck(partial(secrets_of_erp, erp)))
            for erp in settings.erps
            if erp.webhook is not None
        ),
    ]
    return [(check,) for check in checks]


class _UnsafeCheck:
    """Fails for the first unsafe setting; warnings are logged once each."""

    def __init__(self, find: Callable[[], Iterable[Unsafe]]) -> None:
        self._find = find
        self._advised: set[str] = set()

    async def __call__(self) -> None:
        found = await asyncio.to_thread(lambda: list(self._find()))
        advice = {one.text: one for one in found if not one.holds}
        for text in advice.keys() - self._advised:
            _log.warning("%s. %s", text, advice[text].hint)
        self._advised = set(advice)
        wrong = [one for one in found if one.holds]
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise AttentionError(wrong[0].text + more, reason=AttentionReason.CONFIGURATION, hint=wrong[0].hint)


def _of_org(org: Org, settings: Settings, connections: Connections) -> Group:
    client = connections.salesforce[org.id]
    routes = [route for route in settings.routes if route.org == org.name]

    async def fields() -> None:
        found = await complaints_of(routes, client.describe)
        wrong = [(route, one) for route in routes for one in found[route.name] if one.holds]
        if wrong:
            raise as_error(*wrong[0], more=len(wrong) - 1)
        for route in routes:
            await read_nothing(client, route)
        for name in sorted(client.refused_updates):
            await client.update_nothing(name)

    return (RunningCheck("login", org, None, client.log_in), RunningCheck("fields", org, None, fields))


async def read_nothing(client: SalesforceClient, route: Route) -> None:
    """Send the route's query for no record: the org refuses names that SOQL does not know."""
    await client.read(route.object, route.query_fields, NO_RECORD)


def as_error(route: Route, complaint: Complaint, *, more: int = 0) -> AttentionError:
    """The error that says what a complaint says, and how many there are besides."""
    text = f"Route {route.name!r}, {complaint.key}: {complaint.text}"
    if more:
        text += f" (and {more} more; `closedwon config check` lists them)"
    return AttentionError(text, reason=complaint.reason, hint=complaint.hint)
