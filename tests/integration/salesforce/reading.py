"""A reader of the event bus that works like the real one: it commits a position and resumes from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator
from closedwon.errors import RetryError
from closedwon.salesforce.api.auth import TokenSource
from closedwon.salesforce.bus.events import EARLIEST, Event, EventStream
from closedwon.salesforce.bus.pubsub.stream import PubSubStream
from closedwon.salesforce.bus.streaming import CometdStream
from closedwon.settings import Org
from tests.support.salesforce import org_at
from tests.support.waiting import STALL

CHANNEL: Final = "/event/Order_Requested__e"


def settings_of(org: SalesforceEmulator, *, timeout: float = 10.0) -> Org:
    """The settings of a Salesforce emulator, as in `closedwon.toml`: with the Pub/Sub API if it serves that."""
    found = org_at(org.url, org_id=org.org_id, client_id=org.client_id, secret=org.client_secret, timeout=timeout)
    if org.pubsub_url is None:
        return found
    return found.model_copy(update={"stream": "pubsub", "pubsub_url": org.pubsub_url})


def open_stream(org: Org, tokens: TokenSource, **settings: Any) -> EventStream:
    """A stream by `org.stream`; `settings` are those of its class."""
    kind: Callable[..., EventStream] = CometdStream if org.stream == "cometd" else PubSubStream
    return kind(org, tokens, **settings)


@asynccontextmanager
async def emulator(**config: Any) -> AsyncIterator[tuple[SalesforceEmulator, Org, TokenSource]]:
    """A running org, its settings and a login."""
    async with SalesforceEmulator.running(config=OrgConfig(**config)) as org:
        settings = settings_of(org)
        yield org, settings, TokenSource(settings)
        org.faults.clear()


def publish(org: SalesforceEmulator, count: int) -> list[str]:
    """Publish events and return their EventUuids."""
    return [org.publish("Order_Requested__e", Opportunity_Id__c=f"deal {number}") for number in range(count)]


class Reader:
    """After every error, reads on a new connection from the position that it has committed."""

    def __init__(self, org: Org, tokens: TokenSource, *, position: str = EARLIEST, **settings: Any) -> None:
        """`settings` are those of the stream's class."""
        self._new_stream: Callable[[], EventStream] = lambda: open_stream(org, tokens, **settings)
        self.position = position
        self.events: list[Event] = []
        self.troubles: list[RetryError] = []

    @property
    def uuids(self) -> list[str]:
        """The EventUuids of all events, in order of arrival."""
        return [event.uuid or "" for event in self.events]

    async def read_until(self, condition: Callable[[], object]) -> None:
        """Read until `condition` is true after a batch."""
        while not condition():
            stream = self._new_stream()
            try:
                await stream.subscribe(CHANNEL, self.position)
                async for batch in stream.batches():
                    self.events += batch.events
                    ids = (event.replay_id for event in reversed(batch.events))
                    self.position = next(filter(None, ids), batch.position or self.position)
                    if condition():
                        break
            except RetryError as trouble:
                self.troubles.append(trouble)
                await asyncio.sleep(trouble.retry_after.total_seconds() if trouble.retry_after else 0.0)
            finally:
                await stream.close()

    async def read(self, uuids: list[str]) -> None:
        """Read until all of `uuids` have been seen."""
        async with asyncio.timeout(STALL):
            await self.read_until(lambda: set(uuids) <= set(self.uuids))


async def take(stream: EventStream, count: int) -> list[Event]:
    """Read at least `count` events."""
    events: list[Event] = []
    async with asyncio.timeout(STALL):
        async for batch in stream.batches():
            events += batch.events
            if len(events) >= count:
                break
    return events
