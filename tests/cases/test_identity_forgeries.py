"""Case I7: messages that do not prove their org, secrets that can be guessed, times in the future."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from pydantic import SecretStr, ValidationError

from closedwon.settings import CalloutSettings, Intake, Outbound, Settings, Webhook
from closedwon.settings.codec import Codec
from tests.cases.identity import ORDER_OF_MESSAGE, message_about
from tests.support.handoff import handoff
from tests.support.intake import PATH_SECRET, PROVEN, PROVEN_ROUTE, Authority, deliver, intake


async def test_i7_a_forged_message_about_a_deal_in_prospecting_makes_no_order() -> None:
    """A sender that knows the org id but not the path secret starts nothing; the org's own message is accepted."""
    guesses = ["", "/", *(f"/{guess}" for guess in (PATH_SECRET[:-1], f"{PATH_SECRET}x", PATH_SECRET.lower()))]
    async with (
        handoff(outbound=PROVEN, **ORDER_OF_MESSAGE) as world,
        world.working(subscriber=False),
        intake(world) as address,
    ):
        record, won = world.org.seed(2)
        forged = message_about(world.org.org_id, record, Amount="999999.00")
        answers = {await deliver(address, forged, route=f"won-0{guess}") for guess in guesses}
        unknown = await deliver(address, forged, route="no-such-route")
        status, _ = await deliver(address, message_about(world.org.org_id, won, Amount="10.00"), route=PROVEN_ROUTE)
        await world.until_written_back(won)

        assert {unknown} == answers
        assert (404, 200) == (unknown[0], status)
        assert not await world.has_begun(record)
        assert ["10.00"] == [str(order["amount"]) for order in world.erp.orders()]


async def test_i7_settings_reject_orders_made_from_unproven_messages() -> None:
    """`source = "event"` by outbound message needs a path secret or the org's own certificate; a hint needs neither."""
    async with handoff(outbound=PROVEN, **ORDER_OF_MESSAGE) as world:
        (route,) = world.settings.routes

        def with_outbound(outbound: dict[str, Any], **more: Any) -> Settings:
            changed = route.model_copy(update={"outbound": Outbound.model_validate(outbound), **more})
            return Settings.model_validate({**dict(world.settings), "routes": (changed,)})

        with pytest.raises(ValidationError) as caught:
            with_outbound({})
        assert "`closedwon secret path` prints one" in str(caught.value)
        with pytest.raises(ValidationError, match="no client is asked for a certificate"):
            with_outbound({"client_fingerprints": ["ab" * 32]})
        with_outbound({}, source="record", select="Name, IsWon, AccountId, Product_Code__c, Amount")


async def test_i7_a_time_in_the_future_does_not_make_a_real_message_late() -> None:
    """A message with a time in 2099 comes first, the real one second: the order is made of the real one."""
    async with handoff(outbound=PROVEN, **ORDER_OF_MESSAGE) as world, intake(world) as address:
        (record,) = world.org.seed(1)
        for number, (amount, at) in enumerate((("999.00", "2099-01-01"), ("20.00", "2026-01-01")), 1):
            stamp = f"{at}T10:00:00.000Z"
            body = message_about(world.org.org_id, record, first=number, Amount=amount, SystemModstamp=stamp)
            assert 200 == (await deliver(address, body, route=PROVEN_ROUTE))[0]
        async with world.working(subscriber=False):
            await world.until_written_back(record)

        assert ["20.00"] == [str(order["amount"]) for order in world.erp.orders()]


async def test_i7_a_certificate_proves_an_org_only_where_it_is_that_orgs_own(tmp_path: Path) -> None:
    """Another org's certificate of the same authority, of the same name, is let in by the door, not by the route."""
    authority = Authority(tmp_path, "ours")
    own, other = [_escaped(authority.issue("proxy.salesforce.com")[0]) for _ in range(2)]
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(unquote(own))).hexdigest()
    forwarded = {"client_subjects": ["proxy.salesforce.com"]}
    door: dict[str, Any] = {"proxies": ["127.0.0.0/8"], "forwarded_certificate": forwarded}
    async with handoff(outbound=PROVEN, **ORDER_OF_MESSAGE) as world:
        outbound = Outbound(client_fingerprints=(fingerprint.upper(),))
        changed = world.settings.routes[0].model_copy(update={"outbound": outbound})
        settings = {**dict(world.settings), "intake": door, "routes": (changed,)}
        world.settings = Settings.model_validate(settings)
        record, won = world.org.seed(2)
        answers = []
        async with intake(world, **door) as address:
            for deal, certificate in ((record, other), (record, ""), (won, own)):
                body = message_about(world.org.org_id, deal, Amount="10.00")
                answers.append((await deliver(address, body, headers={"Client-Cert": certificate}))[0])

        assert [403, 403, 200] == answers
        assert not await world.has_begun(record)
        assert await world.has_begun(won)


def _escaped(pem: Path) -> str:
    """A certificate as nginx forwards it."""
    return quote(pem.read_text(encoding="ascii"))


@pytest.mark.parametrize("secret", ["k", "k" * 100, "abcdefghi" * 4, "0123456789abcdef0123456789abcde", ""])
def test_i7_a_weak_secret_is_refused(secret: str) -> None:
    """One letter, one repeated letter, nine different letters, 31 characters: each can be guessed."""
    for kind, key in ((Outbound, "path_secrets"), (CalloutSettings, "keys"), (Webhook, "keys")):
        with pytest.raises(ValidationError, match=r"can be guessed.*`closedwon secret (path|callout|webhook)`"):
            kind.model_validate({key: [SecretStr(secret)]})
        kind.model_validate({key: [SecretStr("0123456789abcdef0123456789abcdef")]})
    with pytest.raises(ValidationError, match="can be guessed"):
        Codec(token=SecretStr(secret))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"host": "0.0.0.0"}, "messages would arrive unencrypted"),  # noqa: S104 - that is the point
        ({"host": "::"}, "messages would arrive unencrypted"),
        ({"host": ""}, "messages would arrive unencrypted"),
        ({"host": "intake.example.com", "allow": ["13.108.0.0/14"]}, "messages would arrive unencrypted"),
        ({"proxies": ["0.0.0.0/0"]}, "every sender in it could forge"),
        ({"proxies": ["0.0.0.0/1", "128.0.0.0/1"]}, "every sender in it could forge"),
        ({"proxies": ["10.0.0.0/8", "::/0"]}, "every sender in it could forge"),
        ({"proxies": ["2000::/3"]}, "every sender in it could forge"),
    ],
)
def test_i7_an_open_intake_is_refused(settings: dict[str, Any], complaint: str) -> None:
    """Messages in clear from other machines, and proxy ranges that contain every sender, are refused with a hint."""
    with pytest.raises(ValidationError, match=complaint):
        Intake.model_validate(settings)
