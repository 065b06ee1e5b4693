"""The Pub/Sub API of the Salesforce emulator, as any gRPC client sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator
from closedwon.emulators.salesforce.bus.eventbus import BusEvent
from closedwon.emulators.salesforce.config import PubSubConfig
from closedwon.emulators.salesforce.pubsub import avro
from closedwon.pubsub_api import SERVICE
from closedwon.pubsub_api import eventbus_pb2 as pb

TOPIC = "/event/Order_Requested__e"


class Client:
    """Calls of an org with valid metadata; `changes` replaces some of it."""

    def __init__(self, org: SalesforceEmulator, channel: Any) -> None:
        self.org = org
        self._channel = channel

    async def call(self, name: str, request: Any, response: Any, **changes: str) -> Any:
        """Make one call and return its response."""
        token = self.org.oauth.issue(self.org.integration_user)
        metadata = {"accesstoken": token, "instanceurl": self.org.url, "tenantid": str(self.org.org_id), **changes}
        method = self._channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        return await method(request, metadata=tuple(metadata.items()), timeout=10)

    def events(self) -> list[BusEvent]:
        """What the bus has."""
        return self.org.bus.after(TOPIC, 0, 100)


@asynccontextmanager
async def client() -> AsyncIterator[Client]:
    """An org and a connection to it."""
    async with SalesforceEmulator.running(config=OrgConfig(pubsub=PubSubConfig(port=0))) as org:
        assert org.pubsub_url is not None
        async with grpc.aio.insecure_channel(org.pubsub_url.removeprefix("http://")) as channel:
            yield Client(org, channel)


async def test_a_published_event_is_on_the_bus_and_a_broken_one_is_refused_alone() -> None:
    """Results come in the order of the request, with the event's id; an error of one event stops no other."""
    async with client() as calls:
        topic = await calls.call("GetTopic", pb.TopicRequest(topic_name=TOPIC), pb.TopicInfo)
        schema = calls.org.pubsub.schemas[topic.schema_id]
        payload = avro.encode(
            schema, {"CreatedDate": "2026-01-02T12:00:00Z", "CreatedById": "005", "Opportunity_Id__c": "deal"}
        )
        request = pb.PublishRequest(topic_name=TOPIC)
        for number, content in enumerate((payload, b"", payload)):
            request.events.append(pb.ProducerEvent(id=f"id-{number}", schema_id=topic.schema_id, payload=content))
        request.events[0].id = "00000000-0000-4000-8000-000000000001"
        request.events[2].id = "00000000-0000-4000-8000-000000000002"
        response = await calls.call("Publish", request, pb.PublishResponse)

        assert [False, True, False] == [result.HasField("error") for result in response.results]
        assert [one.id for one in request.events] == [result.correlation_key for result in response.results]
        assert ["deal", "deal"] == [event.data["payload"]["Opportunity_Id__c"] for event in calls.events()]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"accesstoken": "wrong"}, "service.auth.error"),
        ({"accesstoken": ""}, "service.auth.error"),
        ({"tenantid": "00D000000000001AAA"}, "service.auth.headers.invalid"),
        ({"instanceurl": ""}, "service.auth.headers.invalid"),
    ],
)
async def test_metadata_that_does_not_fit_is_refused_with_a_code(changes: dict[str, str], code: str) -> None:
    """The status is UNAUTHENTICATED; code, call and an id for the support are in the trailers."""
    async with client() as calls:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await calls.call("GetTopic", pb.TopicRequest(topic_name=TOPIC), pb.TopicInfo, **changes)

    trailers = dict(raised.value.trailing_metadata() or ())
    assert grpc.StatusCode.UNAUTHENTICATED == raised.value.code()
    assert f"sfdc.platform.eventbus.grpc.{code}" == trailers["error-code"]
    assert "GetTopic" == trailers["type"]
    assert trailers["rpc-id"] in (raised.value.details() or "")
