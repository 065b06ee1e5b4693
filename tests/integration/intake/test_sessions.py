"""Session ids in outbound messages, as before February 2026: used if a route says so, and never visible."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.message import Message as Proto
from temporalio.api.common.v1 import Payload
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig

from closedwon import names
from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator
from closedwon.emulators.salesforce.config import OutboundDefinition
from closedwon.ids import RecordId
from closedwon.model.messages import Message
from tests.support.encryption import keyed
from tests.support.handoff import Handoff, handoff, until
from tests.support.intake import deliver, intake, soap_message


@asynccontextmanager
async def _legacy(**outbound: Any) -> AsyncIterator[Handoff]:
    """A world whose org sends a session id in its outbound messages, with one deal."""
    message = OutboundDefinition(name="won", endpoint="http://localhost:9/", include_session_id=True)
    async with (
        SalesforceEmulator.running(config=OrgConfig(outbound_messages=(message,))) as org,
        handoff(orgs=[org], outbound=outbound, events=(), encryption=keyed()) as world,
    ):
        org.seed(1)
        yield world


async def _sell(world: Handoff, address: str) -> RecordId:
    """Win the deal and wait until its message is acknowledged."""
    world.org.outbox.set_endpoint("won", f"{address}/outbound/won-0")
    (record,) = world.org.win_next(1)
    await until(lambda: not world.org.outbox.queued())
    return record


@pytest.mark.parametrize(("outbound", "tokens"), [({"session": "use"}, 1), ({}, 2)])
async def test_a_route_can_read_and_write_with_the_session_of_the_message(outbound: Any, tokens: int) -> None:
    """Then there is no login: the org has issued only this session. Without the setting, there is one."""
    async with _legacy(**outbound) as world, world.working(subscriber=False), intake(world) as address:
        await world.until_written_back(await _sell(world, address))

        assert tokens == world.org.oauth.valid_tokens


async def test_an_expired_session_is_replaced_by_our_own_user() -> None:
    """Hours may pass between the message and the order: then the integration user reads and writes."""
    async with _legacy(session="use") as world:
        async with intake(world) as address:
            record = await _sell(world, address)
        world.org.revoke_tokens()
        async with world.working(subscriber=False):
            await world.until_written_back(record)

        assert 1 == world.org.oauth.valid_tokens


async def test_a_session_with_the_address_of_another_host_is_ignored() -> None:
    """It is not passed on with the notification."""
    async with _legacy(session="use") as world, intake(world) as address:
        (record,) = world.org.win_next(1)
        session = f"<SessionId>{world.org.oauth.issue(world.org.integration_user)}</SessionId>".encode()
        body = soap_message(world.org.org_id, [record]).replace(b'<SessionId xsi:nil="true"/>', session)
        ours = body.replace(b"https://acme.my.salesforce.com", world.org.url.encode())
        for sent, goes_along in ((body, False), (ours, True)):
            status, _ = await deliver(address, sent)
            history = await world.order(record).fetch_history()
            signals = [event.workflow_execution_signaled_event_attributes for event in history.events]
            signaled = [signal.input.payloads for signal in signals if signal.signal_name == names.SIGNAL_NOTIFIED]
            (message,) = await world.client.data_converter.decode(signaled[-1], [Message])

            assert 200 == status
            assert goes_along is (message.session is not None)


async def test_a_session_is_never_stored_in_plain_text(caplog: pytest.LogCaptureFixture) -> None:
    """Not in Temporal, though its payloads are decoded, nor in logs, metrics, errors and answers."""
    caplog.set_level(logging.DEBUG)
    buffer = MetricBuffer(10_000)
    meter = Runtime(telemetry=TelemetryConfig(metrics=buffer)).metric_meter
    async with _legacy(session="use") as world, intake(world, meter) as address:
        record = await _sell(world, address)
        session = world.org.oauth.issue(world.org.integration_user)  # like the one that was sent, but known here
        body = soap_message(world.org.org_id, [record]).replace(
            b'<SessionId xsi:nil="true"/>', f"<SessionId>{session}</SessionId>".encode()
        )
        body = body.replace(b"https://acme.my.salesforce.com", world.org.url.encode())
        answers = [await deliver(address, body), await deliver(address, body.replace(record.encode(), b"006"))]
        world.org.revoke_tokens()
        world.erp.faults.reject = 1
        async with world.working(subscriber=False):
            await world.until_stage(record, names.OrderStage.ATTENTION)
            order = world.order(record)
            description = await order.describe()
            details = await description.static_details()
            await order.signal("cancel")
            await order.result()
        history = await order.fetch_history()
        payloads = [*_payloads(*history.events), *_payloads(description.raw_description)]
        codec = world.client.data_converter.payload_codec
        assert codec is not None
        decoded = await codec.decode(payloads)
        everything = [
            *(str(payload) for payload in (*payloads, *decoded)),
            *(str(event) for event in history.events),
            str(details),
            caplog.text,
            str(answers),
            str([(update.metric, update.attributes) for update in buffer.retrieve_updates()]),
        ]

    assert any('"session":"' in text.replace("\\", "") for text in everything)
    assert not [text for text in everything if session in text or session[16:] in text]


def _payloads(*messages: Proto) -> Iterator[Payload]:
    """Whatever is a payload within them."""
    for message in messages:
        if isinstance(message, Payload):
            yield message
            continue
        for _, value in message.ListFields():
            inner = value.values() if isinstance(value, Mapping) else [value] if isinstance(value, Proto) else value
            if not isinstance(inner, str | bytes | int | float):
                yield from _payloads(*(one for one in inner if isinstance(one, Proto)))
