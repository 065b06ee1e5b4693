"""Each process starts with the secrets of its role, and with no others."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Final

import pytest
import typer
from typer.testing import CliRunner

from closedwon.cli.main import app
from closedwon.cli.run import _settings
from closedwon.erp import open_erp
from closedwon.facts.expiries import _peers
from closedwon.settings import (
    ClientCredentials,
    Purpose,
    Reading,
    RestErp,
    Settings,
    load_codec,
    load_encryption,
    load_settings,
)
from closedwon.settings.guarding import secrets_of_erp, secrets_of_org
from closedwon.settings.values import UnreadSecret, UnreadSecretError

_SECRETS: Final = {
    Purpose.PAYLOADS: {"PAYLOAD_KEY": base64.b64encode(bytes(range(32))).decode()},
    Purpose.ORG: {"ORG_SECRET": "secret of the org"},
    Purpose.ERP: {"ERP_TOKEN": "token of the ERP"},
    Purpose.SENDERS: {
        "PATH_SECRET": "c2VjcmV0-of-one-test_4fGz81QwLmNpX7Yh",
        "CALLOUT_KEY": "a key of one org, made for this one test",
        "WEBHOOK_KEY": "a key of one ERP, made for this one test",
    },
    Purpose.ALERTS: {"ALERT_URL": "https://chat.example.com/hook", "ALERT_TOKEN": "t", "ALERT_KEY": "k"},
    Purpose.CODEC: {"CODEC_TOKEN": "a token of a person, made for this one test"},
}
_FILE: Final = """
intake = { port = 0 }
encryption = { keys = [{ id = "k", key = { env = "PAYLOAD_KEY" } }] }
alerts = { webhook = { env = "ALERT_URL" }, token = { env = "ALERT_TOKEN" }, key = { env = "ALERT_KEY" } }
codec = { token = { env = "CODEC_TOKEN" } }

[[orgs]]
name = "acme"
id = "00D5g000004uZcX"
url = "https://acme.my.salesforce.com"
auth = { flow = "client-credentials", client_id = "id", client_secret = { env = "ORG_SECRET" } }

[[erps]]
kind = "rest"
name = "facade"
url = "https://erp.example.com"
token = { env = "ERP_TOKEN" }
webhook = { keys = [{ env = "WEBHOOK_KEY" }] }

[[routes]]
name = "won"
object = "Opportunity"
org = "acme"
erp = "facade"
events = ["/event/Order_Requested__e"]
qualify = "IsWon"
select = "Name, IsWon, Amount, CurrencyIsoCode, Account.Id, Account.Name, (SELECT P, Q, U FROM Lines)"
outbound = { path_secrets = [{ env = "PATH_SECRET" }] }
callouts = { keys = [{ env = "CALLOUT_KEY" }] }
write_back = { number = "Number__c" }

[routes.order]
name = "Name"
currency = "CurrencyIsoCode"
total = "Amount"
customer = { id = "Account.Id", name = "Account.Name" }
lines = { each = "Lines.records", product = "P", quantity = "Q", unit_price = "U" }
"""
_NEEDED: Final[dict[tuple[str, ...], set[Purpose]]] = {
    ("orders",): {Purpose.ORG, Purpose.ERP, Purpose.ALERTS},
    ("subscriber",): {Purpose.ORG},
    ("intake",): {Purpose.SENDERS},
    ("orders", "subscriber", "intake"): {Purpose.ORG, Purpose.ERP, Purpose.ALERTS, Purpose.SENDERS},
}
_COMMANDS: Final[dict[str, set[Purpose]]] = {
    "audit": {Purpose.ORG, Purpose.ERP},
    "doctor": {Purpose.ORG, Purpose.ERP},
    "top --once": set(),
    "gaps": set(),
    "erp pause facade": set(),
    "orders list": set(),
    "orders retry --all": set(),
    "route try won 006000000000001AAA": {Purpose.ORG},
    "erp certify facade --product P --yes --only nothing": {Purpose.ERP},
    "config check": {*Purpose},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings file with a secret of every kind."""
    path = tmp_path / "closedwon.toml"
    path.write_text(_FILE, encoding="utf-8")
    return path


def _give(monkeypatch: pytest.MonkeyPatch, purposes: set[Purpose]) -> None:
    for purpose, values in _SECRETS.items():
        for name, value in values.items():
            if purpose in purposes | {Purpose.PAYLOADS}:
                monkeypatch.setenv(name, value)
            else:
                monkeypatch.delenv(name, raising=False)


def _unread(settings: Settings) -> set[Purpose]:
    """The kinds of secrets that the settings do not hold."""
    (route,), (org,), (erp,) = settings.routes, settings.orgs, settings.erps
    assert isinstance(org.auth, ClientCredentials)
    assert isinstance(erp, RestErp)
    assert route.outbound and route.callouts and erp.webhook and settings.alerts and settings.alerts.key  # noqa: PT018
    of: dict[Purpose, list[object]] = {
        Purpose.ORG: [org.auth.client_secret],
        Purpose.ERP: [erp.token],
        Purpose.SENDERS: [*route.outbound.path_secrets, *route.callouts.keys, *erp.webhook.keys],
        Purpose.ALERTS: [settings.alerts.webhook, settings.alerts.token, settings.alerts.key],
        Purpose.CODEC: [settings.codec.token],
    }
    return {purpose for purpose, secrets in of.items() if all(isinstance(one, UnreadSecret) for one in secrets)}


@pytest.mark.parametrize("roles", _NEEDED)
def test_a6_a_process_starts_with_the_secrets_of_its_role(
    roles: tuple[str, ...], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds no other one, also where the environment has all."""
    needed = _NEEDED[roles]
    _give(monkeypatch, needed)
    alone = _settings(file, *roles)
    _give(monkeypatch, set(Purpose))
    beside = _settings(file, *roles)

    assert {*Purpose} - needed - {Purpose.PAYLOADS} == _unread(alone)
    welcome = {Purpose.SENDERS} if "orders" in roles else set()
    assert {*Purpose} - needed - welcome - {Purpose.PAYLOADS} == _unread(beside)


@pytest.mark.parametrize("roles", _NEEDED)
def test_a6_a_secret_of_the_role_that_is_missing_ends_the_start(
    roles: tuple[str, ...], file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the variable."""
    for missing in _NEEDED[roles]:
        _give(monkeypatch, set(Purpose) - {missing})
        with pytest.raises(typer.Exit):
            _settings(file, *roles)
        named = capsys.readouterr().err
        assert all(name in named for name in _SECRETS[missing])


@pytest.mark.parametrize("command", _COMMANDS)
def test_a6_a_command_needs_only_its_own_secrets(command: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With them it gets as far as to what does not answer; without one of them it names it."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", "nowhere.invalid:7233")
    needed = _COMMANDS[command]
    run = [*command.split(), "--config", str(file)]
    for missing in needed - {Purpose.PAYLOADS}:
        _give(monkeypatch, set(Purpose) - {missing})
        refused = CliRunner().invoke(app, run)
        assert "is not set" in refused.output
    if command == "config check":
        return
    _give(monkeypatch, needed)
    monkeypatch.setattr("closedwon.cli.common.asyncio.run", lambda coroutine: coroutine.close())
    assert "is not set" not in CliRunner().invoke(app, run).output


def test_a6_the_codec_server_needs_keys_and_its_token_only(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a reader of Temporal the keys only."""
    _give(monkeypatch, {Purpose.CODEC})
    assert load_codec(file).codec.token is not None
    _give(monkeypatch, set())
    assert load_encryption(file).keys


def test_routes_are_read_without_any_secret(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `orders retry` reads them, to say what it does: the checks of keys pass over those that were not read."""
    _give(monkeypatch, set())

    assert load_settings(file, Reading(frozenset())).routes


async def test_a_secret_that_was_not_read_cannot_be_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No request is ever made with an empty one, and the checks of secrets do not stumble over it."""
    _give(monkeypatch, set())
    settings = load_settings(file, Reading(frozenset({Purpose.PAYLOADS})))

    erp = open_erp(settings.erps[0])
    with pytest.raises(UnreadSecretError):
        await erp.check()
    await erp.close()
    assert [] == [*secrets_of_org(settings, settings.orgs[0]), *secrets_of_erp(settings.erps[0])]


@pytest.mark.parametrize("welcome", [frozenset(), frozenset({Purpose.ALERTS})])
def test_certificates_are_asked_for_without_the_address_of_alerts_and_without_temporal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, welcome: frozenset[Purpose]
) -> None:
    """The address may be a secret of another role, and Temporal's settings unusable: the other systems are asked."""
    for name, value in (pair for secrets in _SECRETS.values() for pair in secrets.items()):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TEMPORAL_TLS_CLIENT_CERT_PATH", str(tmp_path / "missing.pem"))
    file = tmp_path / "closedwon.toml"
    file.write_text(_FILE, encoding="utf-8")

    settings = load_settings(file, Reading(frozenset({Purpose.PAYLOADS, Purpose.ORG, Purpose.ERP}), welcome))

    links = [link for link, *_ in _peers(settings)]
    assert ("alerts" in links) is bool(welcome)
    assert "org acme" in links
