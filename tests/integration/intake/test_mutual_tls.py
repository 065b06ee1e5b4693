"""Who may call intake: certificates, on real TLS."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig

from closedwon.ids import RecordId
from closedwon.settings import Outbound, Settings
from tests.support.handoff import handoff, until
from tests.support.intake import Authority, deliver, intake, soap_message


def _client(server_ca: Authority, pair: tuple[Path, Path, str] | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(server_ca.file))
    context.check_hostname = False  # the address is a bare number
    if pair is not None:
        context.load_cert_chain(pair[0], pair[1])
    return context


async def test_only_the_right_certificate_of_the_right_authority_is_accepted(tmp_path: Path) -> None:
    """By name or by fingerprint; wrong authority, expired, wrong name and no certificate are all refused."""
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    certificate, key, _ = ours.issue("localhost")
    named, printed, other = ours.issue("salesforce"), ours.issue("by-print"), ours.issue("somebody")
    expired, foreign = ours.issue("late", expired=True), theirs.issue("salesforce")
    tls = {
        "certificate": certificate,
        "key": key,
        "client_ca": ours.file,
        "client_subjects": ["salesforce"],
        "client_fingerprints": [printed[2]],
    }
    async with handoff(outbound={}, events=()) as world, intake(world, tls=tls) as address:
        body = soap_message(world.org.org_id, ["006000000000001AAA"])
        let_in = [(await deliver(address, body, tls=_client(ours, pair)))[0] for pair in (named, printed)]
        wrong_name, _ = await deliver(address, body, tls=_client(ours, other))
        for pair in (expired, foreign, None):
            with pytest.raises((aiohttp.ClientError, ConnectionError, ssl.SSLError)):
                await deliver(address, body, tls=_client(ours, pair))

        assert [200, 200] == let_in
        assert 403 == wrong_name


@pytest.mark.parametrize("door", ["open", "by name"])
async def test_a_route_is_open_to_the_certificate_of_its_org_only(tmp_path: Path, door: str) -> None:
    """Another org's certificate of the same authority passes the handshake, and the route refuses it."""
    ours = Authority(tmp_path, "ours")
    certificate, key, _ = ours.issue("localhost")
    own, other = ours.issue("acme"), ours.issue("salesforce")
    tls: dict[str, Any] = {"certificate": certificate, "key": key, "client_ca": ours.file}
    if door == "by name":
        tls["client_subjects"] = ["salesforce"]  # the route's own certificate needs no second entry here
    async with handoff(outbound={}, events=()) as world:
        outbound = Outbound(client_fingerprints=(own[2],))
        route = world.settings.routes[0].model_copy(update={"outbound": outbound})
        settings = {**dict(world.settings), "routes": (route,), "intake": {"tls": tls}}
        world.settings = Settings.model_validate(settings)
        async with intake(world, tls=tls) as address:
            body = soap_message(world.org.org_id, ["006000000000001AAA"])
            refused, _ = await deliver(address, body, tls=_client(ours, other))
            has_begun = await world.has_begun(RecordId("006000000000001AAA"))
            taken, _ = await deliver(address, body, tls=_client(ours, own))

    assert (403, False, 200) == (refused, has_begun, taken)


def _failures(buffer: MetricBuffer) -> Counter[str]:
    return Counter(
        {
            str(update.attributes["reason"]): int(update.value)
            for update in buffer.retrieve_updates()
            if update.metric.name == "closedwon_tls_handshake_failures"
        }
    )


def _distrust(address: str, context: ssl.SSLContext) -> None:
    """Refuse the server's certificate with an alert, which asyncio's own clients do not send."""
    host, port = address.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port))) as plain, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(plain)


async def _send(address: str, first_bytes: bytes) -> None:
    host, port = address.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(first_bytes)
    if first_bytes:
        await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_a_failed_handshake_is_counted_by_its_reason_and_logged_with_the_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An expired or changed certificate is visible in our log, because Salesforce's own logs are hard to read."""
    caplog.set_level(logging.INFO)
    buffer = MetricBuffer(10_000)
    meter = Runtime(telemetry=TelemetryConfig(metrics=buffer)).metric_meter
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    certificate, key, _ = ours.issue("localhost")
    tls = {"certificate": certificate, "key": key, "client_ca": ours.file}
    counted: Counter[str] = Counter()

    async with handoff(outbound={}, events=()) as world, intake(world, meter, tls=tls) as address:
        body = soap_message(world.org.org_id, ["006000000000001AAA"])
        for pair in (ours.issue("late", expired=True), theirs.issue("salesforce"), None):
            with pytest.raises((aiohttp.ClientError, ConnectionError, ssl.SSLError)):
                await deliver(address, body, tls=_client(ours, pair))
        await asyncio.to_thread(_distrust, address, _client(theirs, None))
        await _send(address, b"GET / HTTP/1.1\r\n\r\n")
        await _send(address, b"")

        def all_counted() -> bool:
            counted.update(_failures(buffer))
            return counted.total() == 6

        await until(all_counted)

    reasons = {"certificate-expired", "certificate-untrusted", "no-certificate", "refused-by-client", "plain-http"}
    assert dict.fromkeys({*reasons, "gone"}, 1) == counted
    logged = [record.getMessage() for record in caplog.records if "handshake" in record.getMessage()]
    assert {f"TLS handshake with 127.0.0.1 failed ({reason})" for reason in reasons} == set(logged)
