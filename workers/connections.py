"""The clients that one process shares: a login and a REST client per org, an adapter per ERP."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from closedwon.erp import open_erp
from closedwon.erp.base import Erp
from closedwon.erp.contact import Contact
from closedwon.ids import OrgId
from closedwon.salesforce.api.auth import TokenSource
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.salesforce.bus.events import EventStream
from closedwon.salesforce.bus.pubsub.decoding import Schema
from closedwon.salesforce.bus.pubsub.stream import PubSubStream
from closedwon.salesforce.bus.streaming import CometdStream
from closedwon.settings import Settings


class Connections:
    """Everything remote but Temporal; opened lazily, closed together."""

    def __init__(
        self,
        settings: Settings,
        *,
        orgs: bool = True,
        erps: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect to nothing yet. `clock` yields the seconds by which refused logins are remembered.

        Without `orgs` or `erps` their credentials are not needed, and there are no clients for them.
        """
        self._orgs = settings.orgs if orgs else ()
        self._erps = settings.erps if erps else ()
        self._settings = settings
        self._clock = clock
        self._closing = AsyncExitStack()
        self.salesforce: dict[OrgId, SalesforceClient] = {}
        self.erps: dict[str, Erp] = {}
        self.contacts: dict[str, Contact] = {}
        """By ERP: whether the calls of this process find a connection."""
        self._logins: dict[OrgId, TokenSource] = {}
        self._schemas: dict[OrgId, dict[str, Schema]] = {}
        """Of events, by org and id."""

    async def __aenter__(self) -> Self:
        """Make the clients."""
        for org in self._orgs:
            login = TokenSource(org, clock=self._clock)
            self._closing.push_async_callback(login.close)
            self._logins[org.id] = login
            client = SalesforceClient(org, login)
            self._closing.push_async_callback(client.close)
            self.salesforce[org.id] = client
        for erp_settings in self._erps:
            contact = self.contacts[erp_settings.name] = Contact()
            erp = open_erp(erp_settings, contact=contact)
            self._closing.push_async_callback(erp.close)
            self.erps[erp.name] = erp
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release all connections."""
        await self._closing.aclose()

    def open_stream(self, org: OrgId) -> EventStream:
        """Make a new stream to an org's event bus; it connects when it subscribes."""
        settings, login = self._settings.org(org), self._logins[org]
        silence = self._settings.subscriber.silence_of(settings)
        if settings.stream == "cometd":
            return CometdStream(settings, login, silence=silence)
        schemas = self._schemas.setdefault(org, {})
        return PubSubStream(settings, login, silence=silence, schemas=schemas)
