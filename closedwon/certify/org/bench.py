"""What the checks of an org work with: two users, test deals, and the event bus.

The person wins and deletes deals by a token of their own; the integration user is Closedwon's, by the settings. Every
deal has the name of its run, so that a deal is found, and deleted, even if the answer to its creation was lost.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import SecretStr
from simple_salesforce.api import Salesforce

from closedwon.certify.check import CertificationCheck, FailedError
from closedwon.errors import ClosedwonError
from closedwon.ids import InvalidIdError, OrgId, RecordId
from closedwon.mapping.orders import MappingError, record_id_of
from closedwon.salesforce.api.auth import TokenSource
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.salesforce.bus.events import LATEST, Event
from closedwon.salesforce.bus.streaming import CometdStream
from closedwon.salesforce.errors import SessionExpiredError
from closedwon.settings import Intake, Org, Route

DEAL: Final = "Opportunity"
_AMOUNT: Final = 100.0
_T = TypeVar("_T")


class UnfitOrgError(ClosedwonError):
    """The run cannot begin: nothing was created. The text says what to change."""


class OrgPlan(NamedTuple):
    """The operator's choices."""

    org: Org
    route: Route
    intake: Intake | None
    """Where messages and callouts arrive; None if the settings have no `[intake]`."""
    person: SecretStr
    """The access token of a person who may create, win and delete deals."""
    wait: timedelta = timedelta(seconds=60)
    """The longest time until an event, a message or a callout arrives."""
    pause: timedelta = timedelta(seconds=5)
    """How long no subscriber is there, before events are replayed."""
    open_stage: str = "Prospecting"
    won_stage: str = "Closed Won"


class OrgBench:
    """One run of the checks against one org."""

    def __init__(self, plan: OrgPlan) -> None:
        """Makes no connection."""
        self.plan = plan
        self.run = uuid.uuid4().hex[:8]
        self.started_at = datetime.now(UTC)
        self.deals: set[RecordId] = set()
        """All that are known, also those that were deleted since."""
        self.about = ""
        """The org and the person, for the report."""
        self._creating: set[asyncio.Task[RecordId]] = set()
        self._tokens = TokenSource(plan.org)
        self.integration = SalesforceClient(plan.org, self._tokens)
        """Closedwon's own client, as the integration user."""

    @property
    def name(self) -> str:
        """How the names of all test deals begin."""
        return f"Closedwon certification {self.run}"

    async def close(self) -> None:
        """Close the connections."""
        await self.integration.close()

    # As the person

    async def as_person(self, work: Callable[[Salesforce], _T]) -> _T:
        """Make one call with the person's token. Raises `UnfitOrgError` if the org does not accept it."""
        try:
            return await self.integration.call(work, self.plan.person)
        except SessionExpiredError:
            raise UnfitOrgError(
                f"org {self.plan.org.name} does not accept the person's token; get a new one (docs/org-certify.md)"
            ) from None

    async def meet(self) -> None:
        """Read who the person is and what the org is. Raises `UnfitOrgError` unless deals may be won in it."""
        found = await self.as_person(lambda one: one.query("SELECT Id, OrganizationType, IsSandbox FROM Organization"))
        about = found["records"][0]
        try:
            person = (await self.as_person(lambda one: one.oauth2("userinfo")) or {}).get("preferred_username")
        except ClosedwonError:
            person = None
        if OrgId(about["Id"]) != self.plan.org.id:
            raise UnfitOrgError(f"the person's token is for org {about['Id']}, not for {self.plan.org.id}")
        kind = "sandbox" if about["IsSandbox"] else str(about["OrganizationType"])
        self.about = f"{kind}, deals are won by {person or 'a person whose name the token does not show'}"
        if not about["IsSandbox"] and about["OrganizationType"] != "Developer Edition":
            raise UnfitOrgError(
                f"org {self.plan.org.name} is a production org ({kind}), and the checks win deals in it; "
                "use a sandbox or a free Developer Edition"
            )

    async def deal(self) -> RecordId:
        """Create an open deal."""
        body = {
            "Name": f"{self.name} {uuid.uuid4().hex[:6]}",
            "StageName": self.plan.open_stage,
            "CloseDate": f"{self.started_at:%Y-%m-%d}",
            "Amount": _AMOUNT,
        }
        task = asyncio.create_task(self._create(body))
        self._creating.add(task)
        task.add_done_callback(self._creating.discard)
        return await asyncio.shield(task)  # Ctrl-C must not lose its id

    async def _create(self, body: dict[str, Any]) -> RecordId:
        made = await self.as_person(lambda one: one.restful(f"sobjects/{DEAL}", method="POST", json=body))
        record = RecordId((made or {})["id"])
        self.deals.add(record)
        return record

    async def created(self) -> None:
        """Wait for creations that are under way."""
        await asyncio.gather(*self._creating, return_exceptions=True)

    async def change(self, record: RecordId, **fields: Any) -> None:
        """Set fields of a deal."""
        await self.as_person(lambda one: one.restful(f"sobjects/{DEAL}/{record}", method="PATCH", json=fields))

    async def won_deal(self) -> RecordId:
        """Create a deal and win it."""
        record = await self.deal()
        await self.change(record, StageName=self.plan.won_stage)
        return record

    async def delete(self, object_name: str, record: RecordId) -> None:
        """Delete a record."""
        await self.as_person(lambda one: one.restful(f"sobjects/{object_name}/{record}", method="DELETE"))

    async def query(self, soql: str) -> list[dict[str, Any]]:
        """Query as the person."""
        records: list[dict[str, Any]] = (await self.as_person(lambda one: one.query_all(soql)))["records"]
        return records

    # As Closedwon

    @asynccontextmanager
    async def stream(self, position: str = LATEST) -> AsyncIterator[CometdStream]:
        """A subscription to the route's first channel."""
        stream = CometdStream(self.plan.org, self._tokens)
        try:
            await stream.subscribe(self.plan.route.events[0], position)
            yield stream
        finally:
            await stream.close()

    async def event_about(self, record: RecordId, stream: CometdStream) -> Event:
        """The next event about a deal. Raises `FailedError` if none comes in time."""
        try:
            async with asyncio.timeout(self.plan.wait.total_seconds()):
                async for batch in stream.batches():
                    for event in batch.events:
                        if self._is_about(event, record):
                            return event
        except TimeoutError:
            pass
        raise FailedError(
            f"no event about the deal came on {self.plan.route.events[0]} within {self.plan.wait.total_seconds():.0f} s"
        )

    def _is_about(self, event: Event, record: RecordId) -> bool:
        try:
            return record_id_of(self.plan.route, event.payload or {}) == record
        except (MappingError, InvalidIdError):
            return False


def check(name: str, promise: str, if_failed: str, *, is_dangerous: bool = False) -> Callable[[Any], Any]:
    """Turn a function into a check of an org. `if_failed` says what a failure means, and what to do."""
    return lambda run: CertificationCheck[OrgBench](name, promise, run, is_dangerous, if_failed)
