"""Case R9: a process that is to end while it connects to a host that takes no connection ends at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

from temporalio.client import Client
from temporalio.common import MetricMeter
from temporalio.testing import ActivityEnvironment

from activities.messages import MessageActivities
from activities.subscription import SubscriptionActivities
from closedwon.emulators.erp.stub import StubErp
from closedwon.emulators.salesforce import SalesforceEmulator
from closedwon.ids import OrgId
from closedwon.model.subscriptions import Cursor, Subscribe, Subscribed
from closedwon.salesforce.api.auth import TokenSource
from closedwon.salesforce.bus.streaming import CometdStream
from closedwon.telemetry.metrics import Metrics
from tests.support.handoff import settings_for
from tests.support.network import black_hole
from tests.support.salesforce import ORG_ID
from tests.support.waiting import until


class _CountedLogin(TokenSource):
    """Notes that a login has begun."""

    begun = 0

    async def token(self) -> None:  # type: ignore[override]  # it never returns
        self.begun += 1
        await super().token()


async def test_r9_a_reader_that_is_to_stop_while_it_connects_returns_its_cursor_at_once() -> None:
    """It does not wait for the deadline of the call, which has a minute here."""
    before = Cursor(replay_id="42", count=7)
    stopping = asyncio.Event()
    with black_hole() as port:
        org = SimpleNamespace(
            org_id=ORG_ID, url=f"http://127.0.0.1:{port}", client_id="id", client_secret="no", pubsub_url=None
        )
        erp = SimpleNamespace(url=f"http://127.0.0.1:{port}", token="token")
        settings = settings_for([cast("SalesforceEmulator", org)], cast("StubErp", erp))
        login = _CountedLogin(settings.orgs[0].model_copy(update={"timeout": settings.orgs[0].timeout * 2}))
        messages = MessageActivities(settings, cast("Client", None), Metrics(MetricMeter.noop))
        reader = SubscriptionActivities(settings, messages, lambda _: CometdStream(settings.orgs[0], login), stopping)
        request = Subscribe(org=OrgId(ORG_ID), channel=settings.routes[0].events[0], cursor=before)
        reading = asyncio.create_task(ActivityEnvironment().run(reader.subscribe, request))
        await until(lambda: login.begun == 1)
        stopping.set()
        found: Subscribed = await asyncio.wait_for(reading, 10)
    assert (before.replay_id, before.count, None) == (found.cursor.replay_id, found.cursor.count, found.gap)
    assert not found.has_connected  # an alert that was raised before still applies
