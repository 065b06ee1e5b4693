"""The whole hand-off in one process on real parts: Temporal, emulators and a stub ERP over sockets, our workers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import aiohttp
from pydantic import SecretStr
from temporalio.client import Client, WorkflowHandle
from temporalio.common import MetricMeter
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from closedwon import names
from closedwon.acceptance import order_start
from closedwon.audit.compare import AuditReport
from closedwon.emulators.erp.stub import StubErp
from closedwon.emulators.salesforce.config import OrgConfig, PubSubConfig
from closedwon.emulators.salesforce.server import SalesforceEmulator
from closedwon.ids import RecordId
from closedwon.mapping.orders import map_order
from closedwon.model.erp import ErpOrder
from closedwon.model.messages import Message
from closedwon.model.outcomes import OrderOutcome
from closedwon.model.routes import Channel
from closedwon.settings import ClientCredentials, Encryption, Intake, Org, RestErp, Retry, Route, Settings, Subscriber
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.orders import start_order
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS
from tests.support.audit import look
from tests.support.encryption import with_keys
from tests.support.histories import keep_history
from tests.support.servers import start_temporal
from tests.support.visibility import exists, is_listed, waits
from tests.support.waiting import until as until  # noqa: PLC0414 - for the tests, which import it from here
from workers.connections import Connections
from workers.lasting import NamespaceWait
from workers.orders import order_workers
from workers.subscriber import start_subscriptions, subscription_worker
from workflows.order import OrderWorkflow

CHANNEL = "/event/Order_Requested__e"
_DEAL: dict[str, Any] = {
    "object": "Opportunity",
    "events": [CHANNEL],
    "org_id": "Organization_Id__c",
    "payload": "Payload__c",
    "qualify": "IsWon",
    "erp": "stub",
    "order": {
        "name": "Name",
        "currency": "CurrencyIsoCode",
        "total": "Amount",
        "customer": {"id": "Account.Id", "name": "Account.Name"},
        "lines": {
            "each": "OpportunityLineItems.records",
            "product": "Product2.ProductCode || ProductCode",
            "quantity": "Quantity",
            "unit_price": "UnitPrice",
            "discount": "Discount",
            "total": "TotalPrice",
        },
    },
    "write_back": {
        "number": "ERP_Order_Number__c",
        "status": "ERP_Order_Status__c",
        "link": "ERP_Order_Link__c",
        "error": "ERP_Order_Error__c",
        "key": "ERP_Order_Key__c",
    },
}
_SELECT = (
    "Name, IsWon, Amount, CurrencyIsoCode, Account.Id, Account.Name, "
    "(SELECT ProductCode, Product2.ProductCode, Quantity, UnitPrice, Discount, TotalPrice FROM OpportunityLineItems)"
)

PLAIN = Encryption(enabled=False)


def settings_for(
    orgs: Sequence[SalesforceEmulator], erp: StubErp, *, encryption: Encryption = PLAIN, **route: Any
) -> Settings:
    """One route per org, from its event channel to the stub ERP; `route` changes what a test is about."""
    source = {} if route.get("source") == "event" else {"select": _SELECT}
    return Settings(
        orgs=tuple(
            Org(
                name=f"org-{place}",
                id=org.org_id,
                url=org.url,
                stream="pubsub" if org.pubsub_url else "cometd",
                pubsub_url=org.pubsub_url or "http://localhost:1",
                auth=ClientCredentials(
                    flow="client-credentials", client_id=org.client_id, client_secret=SecretStr(org.client_secret)
                ),
            )
            for place, org in enumerate(orgs)
        ),
        erps=(
            RestErp(
                kind="rest", name="stub", url=erp.url, token=SecretStr(erp.token), in_doubt_for=timedelta(seconds=1)
            ),
        ),
        routes=tuple(
            Route.model_validate({**_DEAL, **source, "name": f"won-{place}", "org": f"org-{place}", **route})
            for place in range(len(orgs))
        ),
        retry=Retry(maximum_interval=timedelta(minutes=15)),
        subscriber=Subscriber(heartbeat_timeout=timedelta(seconds=3)),
        intake=Intake(port=0),
        encryption=encryption,
    )


class Handoff:
    """One world: its parts, and the questions that tests ask."""

    def __init__(self, client: Client, settings: Settings, orgs: Sequence[SalesforceEmulator], erp: StubErp) -> None:
        self.client = client
        self.settings = settings
        self.orgs = orgs
        self.org = orgs[0]
        self.erp = erp
        self.connections = Connections(settings)

    @asynccontextmanager
    async def working(
        self,
        *,
        subscriber: bool = True,
        clock: Callable[[], float] = time.monotonic,
        metrics: Metrics = Metrics(MetricMeter.noop),  # noqa: B008 - it counts nothing
    ) -> AsyncIterator[None]:
        """Run the workers."""
        self.connections = Connections(self.settings, clock=clock)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.connections)
            for worker in order_workers(self.client, self.settings, self.connections, metrics):
                await stack.enter_async_context(worker)
            if subscriber:
                await stack.enter_async_context(
                    subscription_worker(
                        self.client, self.settings, self.connections, metrics, NamespaceWait(self.client)
                    )
                )
                await start_subscriptions(self.client, self.settings)
            yield

    async def win(self, number: int) -> list[RecordId]:
        """Win deals, and deliver a notification of each."""
        won = self.org.win_next(number)
        for record in won:
            message = Message(id=f"m-{record}", channel=Channel.PLATFORM_EVENT, received_at=datetime.now(UTC))
            start = order_start(self.settings, self.settings.routes[-1], record)
            await start_order(self.client, start, message)
        return won

    async def reopened_deal(self) -> RecordId:
        """Win a deal, wait for its order, reopen the deal, and wait until the order needs attention."""
        self.org.seed(1)
        (record,) = self.org.win_next(1)
        await self.until_written_back(record)
        await self.order(record).result()
        self.org.update("Opportunity", record, StageName="Negotiation/Review")
        await self.until_stage(record, names.OrderStage.ATTENTION)
        return record

    async def audit(self) -> AuditReport:
        """What the audit says of everything, from connections of its own."""
        await self.until_listed()
        async with Connections(self.settings) as connections:
            return await look(self.settings, connections, self.client)

    def order(
        self, record: RecordId, org: SalesforceEmulator | None = None
    ) -> WorkflowHandle[OrderWorkflow, OrderOutcome]:
        """The order workflow of a record."""
        workflow_id = names.order_workflow_id((org or self.org).org_id, record)
        return self.client.get_workflow_handle_for(OrderWorkflow.run, workflow_id)

    async def has_begun(self, record: RecordId) -> bool:
        """Whether the record has a workflow."""
        return await exists(self.client, self.order(record).id)

    async def begun(self, *records: str) -> list[str]:
        """Those of the records that have a workflow: the way to say that nothing was started."""
        return [record for record in records if await self.has_begun(RecordId(record))]

    async def stage(self, record: RecordId) -> str | None:
        """Where its order stands, asked of its workflow; None while it has none."""
        return await self._attribute(record, names.ORDER_STAGE)

    async def reason(self, record: RecordId) -> str | None:
        """Why its order needs attention, asked of its workflow; None where it does not."""
        return await self._attribute(record, names.ATTENTION_REASON)

    async def _attribute(self, record: RecordId, name: str) -> str | None:
        try:
            described = await self.order(record).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None
        return described.typed_search_attributes.get(SEARCH_ATTRIBUTE_KEYS[name])

    async def until_stage(self, record: RecordId, stage: names.OrderStage) -> None:
        """Wait until the order stands there, and Temporal's list shows it."""

        async def stands() -> bool:
            return await self.stage(record) == stage and (
                stage is not names.OrderStage.ORDERING or await waits(self.client, self.order(record).id)
            )

        await until(stands, what=f"an order at the stage {stage}")
        await self.until_listed(record)

    async def until_listed(self, *records: RecordId) -> None:
        """Wait until Temporal's list, which lags behind, shows the workflow of each record as it is (default: of all).

        For what reads that list: the audit, `orders list`, `top`, `doctor`.
        """
        of_all = [(org, RecordId(row["Id"])) for org in self.orgs for row in org.query("SELECT Id FROM Opportunity")]
        for handle in [self.order(record, org) for org, record in of_all if record in records or not records]:
            await until(partial(is_listed, self.client, handle.id), what=f"{handle.id} in the list of workflows")

    async def made_by_hand(self, record: RecordId) -> ErpOrder:
        """An order that somebody has entered into the ERP for this deal."""
        route = self.settings.routes[0]
        deal = await self.connections.salesforce[self.org.org_id].read(route.object, route.query_fields, record)
        assert deal is not None
        order = map_order(route, self.org.org_id, record, deal).model_dump(mode="json")
        async with aiohttp.request("POST", f"{self.erp.url}/_admin/orders", json=order) as answer:
            return ErpOrder.model_validate(await answer.json())

    def number_of(self, record: RecordId, org: SalesforceEmulator | None = None) -> str | None:
        """The order number that Salesforce knows."""
        number: str | None = (org or self.org).get("Opportunity", record)["ERP_Order_Number__c"]
        return number

    async def until_written_back(self, *records: RecordId) -> None:
        """Wait until Salesforce knows the order number of each record."""

        def written() -> int:
            return sum(self.number_of(record) is not None for record in records)

        await until(lambda: written() == len(records), progress=lambda: (written(), self.erp.calls))


@asynccontextmanager
async def handoff(
    *,
    temporal_server: WorkflowEnvironment | None = None,
    orgs: Sequence[SalesforceEmulator] | None = None,
    encryption: Encryption = PLAIN,
    stream: str = "cometd",
    **route: Any,
) -> AsyncIterator[Handoff]:
    """A world of its own: a Temporal server, an org and a stub ERP that no other test uses.

    `stream` is how the org's events are read: `cometd` or `pubsub`.
    """
    async with AsyncExitStack() as stack:
        server = temporal_server
        if server is None:
            server = await stack.enter_async_context(await start_temporal())
        config = OrgConfig(pubsub=PubSubConfig(port=0 if stream == "pubsub" else None))
        there = orgs or [await stack.enter_async_context(SalesforceEmulator.running(config=config))]
        erp = await stack.enter_async_context(StubErp.running())
        client = with_keys(server.client, encryption)
        world = Handoff(client, settings_for(there, erp, encryption=encryption, **route), there, erp)
        yield world
        if temporal_server is None:
            for kind in (names.SUBSCRIPTION_WORKFLOW, names.UNPARSEABLE_MESSAGE_WORKFLOW, names.ALERT_WORKFLOW):
                async for execution in world.client.list_workflows(f"WorkflowType = '{kind}'"):
                    await keep_history(world.client, execution.id)
