"""The doctor answers in time, says what got no answer, and distinguishes the steps of a connection (N9, N4, N6)."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from closedwon.cli.common import complete
from closedwon.cli.doctor import in_time
from closedwon.emulators.ports import free_port
from closedwon.emulators.salesforce.config import OrgConfig
from closedwon.emulators.salesforce.server import SalesforceEmulator
from closedwon.facts.expiries import KeyAge, key_ages
from closedwon.operations import doctor
from closedwon.operations.questions import PATIENCE
from closedwon.operations.systems import key_age
from closedwon.operations.troubles import Harm, Trouble
from closedwon.settings import AlertSettings, Intake, Settings, Tls
from closedwon.settings.values import FileSecret
from tests.support.handoff import Handoff, handoff
from tests.support.intake import Authority
from tests.support.metrics import Gauges, firing
from tests.support.network import ConnectProxy, black_hole
from workers.connections import Connections
from workers.limits import Limits


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[Handoff]:
    """One installation without processes, whose org is short of events."""
    config = OrgConfig(hourly_published_events=1, daily_delivered_events=50_000)
    async with SalesforceEmulator.running(config=config) as org, handoff(orgs=[org], sweep={}) as world:
        org.seed(1)
        org.win_next(1)
        yield world


@pytest.fixture(autouse=True)
def here(world: Handoff, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let doctor find this Temporal, and no proxy."""
    for name in [*os.environ]:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TEMPORAL_ADDRESS", world.client.service_client.config.target_host)


@asynccontextmanager
async def _silent() -> AsyncIterator[int]:
    """A port that accepts connections and never says a word."""
    kept = []
    async with await asyncio.start_server(lambda *streams: kept.append(streams), "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        for _, writer in kept:
            writer.close()


@asynccontextmanager
async def _secured(authority: Authority, *, expired: bool) -> AsyncIterator[int]:
    """A TLS server with a certificate of this authority."""
    certificate, key, _ = authority.issue("localhost", expired=expired)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


def _with_urls(settings: Settings, *, org: str | None = None, erp: str | None = None) -> Settings:
    orgs = tuple(one.model_copy(update={"url": org or one.url}) for one in settings.orgs)
    erps = tuple(one.model_copy(update={"url": erp or one.url}) for one in settings.erps)
    return settings.model_copy(update={"orgs": orgs, "erps": erps})


async def _examine(settings: Settings) -> dict[str, list[Trouble]]:
    found: dict[str, list[Trouble]] = {}
    for trouble in await doctor.examine(settings):
        found.setdefault(trouble.subject, []).append(trouble)
    return found


async def test_n9_whatever_is_silent_the_answer_comes_in_time_and_names_it(
    world: Handoff, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporal, org and ERP accept connections and say nothing: all three are reported, none waits for another."""
    async with _silent() as port:
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"localhost:{port}")
        address = f"http://localhost:{port}"
        began = time.monotonic()
        found = await _examine(_with_urls(world.settings, org=address, erp=address))
        took = time.monotonic() - began
    assert took < PATIENCE + 2
    for subject, text, setting in (
        ("temporal", "it takes connections, but gave no answer within 3 s", "TEMPORAL_ADDRESS"),
        ("org org-0", "no answer: localhost gave no whole answer within 4 s", "`orgs.url`"),
        ("erp stub", "no answer: localhost gave no whole answer within 4 s", "`erps.url`"),
    ):
        (trouble,) = found[subject]
        assert text in trouble.text, trouble
        assert setting in trouble.hint, trouble


async def test_n9_a_question_without_an_answer_is_named(world: Handoff, monkeypatch: pytest.MonkeyPatch) -> None:
    """One part of Temporal is slow: the other questions are answered, and that one says that it is not."""

    async def never(*_: object) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(doctor, "readers", never)
    monkeypatch.setattr(doctor, "PATIENCE", 3.0)
    found = await _examine(world.settings)
    (unanswered,) = found["event bus"]
    assert (Harm.UNKNOWN, True) == (unanswered.harm, "no answer within" in unanswered.text)
    assert "queue orders" in found


async def test_n9_the_steps_of_a_connection_are_distinguished(
    world: Handoff, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name, refusal, no connection, certificate and proxy: each with its own hint, which names the setting."""
    authority, other = Authority(tmp_path, "ours"), Authority(tmp_path, "strange")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    proxy = ConnectProxy({}, user="me", password="secret")
    with black_hole() as hole:
        async with (
            _secured(authority, expired=True) as expired,
            _secured(other, expired=False) as strange,
            proxy.serving() as address,
        ):
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:wrong@{address}")
            monkeypatch.setenv("NO_PROXY", ".invalid")
            said = {}
            for case, url in {
                "name": "https://no-such-host.invalid",
                "refused": f"http://localhost:{free_port()}",
                "time-out": f"http://localhost:{hole}",
                "expired": f"https://localhost:{expired}",
                "strange": f"https://localhost:{strange}",
                "proxy": "https://erp.example.com",
            }.items():
                (trouble,) = (await _examine(_with_urls(world.settings, erp=url)))["erp stub"]
                said[case] = trouble.text, trouble.hint

    assert all(text.startswith("no connection: ") for text, _ in said.values()), said
    assert all("`erps.url`" in hint for _, hint in said.values()), said
    assert len({hint for _, hint in said.values()}) == len(said)
    for case, (text, hint) in {
        "name": ("the name no-such-host.invalid has no address", "name server of this machine"),
        "refused": ("localhost refuses the connection", "that its port is right"),
        "time-out": ("localhost takes no connection within 4 s", "no firewall drops packets"),
        "expired": ("the certificate of localhost has expired on", "Have it renewed"),
        "strange": ("from an authority that is not trusted here", "SSL_CERT_FILE"),
        "proxy": (f"the proxy {address} of HTTPS_PROXY wants another credential", "HTTPS_PROXY"),
    }.items():
        assert text in said[case][0], said
        assert hint in said[case][1], said
    assert "wrong" not in str(said)


async def test_n9_the_steps_of_the_connection_to_temporal_are_distinguished(
    world: Handoff, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the error of its own client, in time."""
    other = Authority(tmp_path, "strange")
    with black_hole() as hole:
        async with _secured(other, expired=False) as strange:
            said = {}
            for case, address in {
                "name": "no-such-host.invalid:7233",
                "refused": f"localhost:{free_port()}",
                "time-out": f"127.0.0.1:{hole}",
                "strange": f"localhost:{strange}",
            }.items():
                monkeypatch.setenv("TEMPORAL_ADDRESS", address)
                monkeypatch.setenv("TEMPORAL_TLS", str(case == "strange").lower())
                (trouble,) = (await _examine(world.settings))["temporal"]
                assert f"Temporal at {address} cannot be reached: " in trouble.text, trouble
                assert "TEMPORAL_ADDRESS" in trouble.hint, trouble
                said[case] = trouble.text.partition("reached: ")[2], trouble.hint
            monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal.example.com:7233")
            monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{free_port()}")
            (through,) = (await _examine(world.settings))["temporal"]

    assert len({hint for _, hint in said.values()}) == len(said)
    assert "its name has no address" == said["name"][0]
    assert "it refuses the connection" == said["refused"][0]
    assert "it takes no connection in time" == said["time-out"][0]
    assert "from an authority that is not trusted here" in said["strange"][0]
    assert "of HTTPS_PROXY" in through.text
    assert "NO_PROXY" in through.hint


async def test_n4_a_certificate_is_reported_on_each_link_before_and_after_its_end(
    world: Handoff, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Intake's own, its clients' authority, those of the org, the ERP, the alerts and Temporal; doctor and metrics."""
    authority = Authority(tmp_path, "ours")
    certificate, key, _ = authority.issue("intake", expired=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    gauges = Gauges()
    async with _secured(authority, expired=True) as port:
        url = f"https://localhost:{port}"
        settings = _with_urls(world.settings, org=url, erp=url)
        shown, shown_key, _ = authority.issue("shown")
        of_ours = {"client_cert": shown, "client_key": shown_key}
        settings = settings.model_copy(
            update={
                "erps": tuple(one.model_copy(update=of_ours) for one in settings.erps),
                "intake": Intake(tls=Tls(certificate=certificate, key=key, client_ca=authority.file)),
                "alerts": AlertSettings(webhook=SecretStr(url)),
            }
        )
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"localhost:{port}")
        monkeypatch.setenv("TEMPORAL_TLS", "true")
        found = await _examine(settings)
        async with Connections(settings) as connections:
            await Limits(world.client, connections, settings, gauges.metrics).report()

    for link in ("org org-0", "erp stub", "alerts", "temporal"):
        trouble, *ours = found[f"certificate of {link}"]
        assert "its certificate has expired" in trouble.text
        assert ["our certificate expires in 0 days"] * (link == "erp stub") == [one.text[:33] for one in ours]
        ends = gauges.get("certificate_expires_timestamp_seconds", {"link": link, "side": "theirs"}) or 0
        assert time.time() - 2 * 86400 < ends < time.time()
        assert ("ClosedwonCertificateExpired", f"{link} theirs") in firing(gauges)
    assert ("ClosedwonCertificateExpires", "erp stub ours") in firing(gauges)
    texts = {one.harm: one.text for one in found["certificate of intake"]}
    assert "our certificate has expired" in texts[Harm.LOSS]
    assert "the authority of its clients expires in 0 days" in texts[Harm.RISK]
    assert "certificate has expired" in found["temporal"][0].text
    ends = gauges.get("certificate_expires_timestamp_seconds", {"link": "intake", "side": "authority"}) or 0
    assert time.time() < ends < time.time() + 2 * 86400


async def test_limits_of_the_org_are_reported_by_doctor_and_metrics(world: Handoff) -> None:
    """Events that were published, of all that may be in an hour; a limit that is far away is a metric only."""
    gauges = Gauges()
    found = await _examine(world.settings)
    async with Connections(world.settings) as connections:
        await Limits(world.client, connections, world.settings, gauges.metrics).report()
    near = [one for one in found["org org-0"] if "HourlyPublishedPlatformEvents" in one.text]
    assert [Harm.RISK] == [one.harm for one in near]
    labels = {"org": "org-0", "limit": "HourlyPublishedPlatformEvents"}
    assert (1, 1) == (gauges.get("salesforce_limit_used", labels), gauges.get("salesforce_limit_max", labels))
    far = {"org": "org-0", "limit": "DailyDeliveredPlatformEvents"}
    assert 50_000 == gauges.get("salesforce_limit_max", far)
    assert not any("DailyDelivered" in one.text for one in found["org org-0"])
    assert abs(gauges.get("clock_ahead_seconds", {"org": "org-0"}) or 0) < 30


async def test_a_clock_that_is_ahead_is_so_for_doctor_and_metrics(world: Handoff) -> None:
    """By the org's own clock, without a login."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(headers={"Date": f"{datetime.now(UTC) - timedelta(hours=1):%a, %d %b %Y %H:%M:%S} GMT"})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    gauges = Gauges()
    async with TestServer(application) as server:
        settings = _with_urls(world.settings, org=str(server.make_url("")).rstrip("/"))
        (trouble,) = (await _examine(settings))["clock"]
        async with Connections(settings) as connections:
            await Limits(world.client, connections, settings, gauges.metrics).report()
    assert "s ahead of Salesforce's" in trouble.text
    assert 3500 < (gauges.get("clock_ahead_seconds", {"org": "org-0"}) or 0) < 3700
    assert ("ClosedwonClock", "org-0") in firing(gauges)


@pytest.mark.parametrize(("days", "is_reported"), [(300, False), (340, True)])
def test_a_key_that_is_nearly_a_year_old_is_reported(days: int, *, is_reported: bool) -> None:
    """A month ahead, so that it is replaced without haste."""
    now = datetime.now(UTC)
    found = [*key_age(KeyAge("encryption.keys 2026-11", now - timedelta(days=days)), now)]
    assert is_reported is bool(found)


def test_the_age_of_a_push_secret_is_that_of_its_file(world: Handoff, tmp_path: Path) -> None:
    """A secret from the environment has no date."""
    file = tmp_path / "secret"
    file.write_text("a key that both ends know, made for one test")
    os.utime(file, (1_700_000_000, 1_700_000_000))
    route = world.settings.routes[0].model_copy(
        update={
            "callouts": type("Callouts", (), {"keys": (FileSecret("x", file), SecretStr("from the environment"))})(),
        }
    )
    ages = key_ages(world.settings.model_copy(update={"routes": (route,)}), [])
    assert [KeyAge("routes.callouts.keys of route won-0", datetime.fromtimestamp(1_700_000_000, UTC))] == ages


def test_n9_a_name_that_is_looked_up_for_long_does_not_hold_the_command(
    world: Handoff, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resolver of a machine may take half a minute: the answer does not wait for its thread."""
    found, real = threading.Event(), socket.getaddrinfo

    def slow(host: str, *arguments: object, **named: object) -> object:
        if host == "slow.example.com":
            found.wait(60)
        return real("localhost", *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(doctor, "PATIENCE", 5.0)
    settings = _with_urls(world.settings, erp="http://slow.example.com")
    try:
        troubles = {trouble.subject: trouble for trouble in complete(in_time(settings))}
        assert not found.is_set()
    finally:
        found.set()
    assert "no name server answers for slow.example.com" in troubles["erp stub"].text
