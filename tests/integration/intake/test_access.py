"""Who may call intake: addresses and certificates, from proxies or from the connection itself."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from lxml import etree
from multidict import MultiDict
from pydantic import SecretStr

from closedwon.intake import IntakeError
from tests.support.handoff import Handoff, handoff
from tests.support.intake import Authority, deliver, intake, soap_message

_SALESFORCE, _STRANGER = "13.108.1.2", "203.0.113.9"
_HERE = "127.0.0.0/8"


def _message(world: Handoff) -> bytes:
    return soap_message(world.org.org_id, ["006000000000001AAA"])


async def test_forwarded_addresses_count_only_from_listed_proxies() -> None:
    """A forwarded address counts if a listed proxy sends it; from any other sender it is ignored."""
    good, bad = ({"X-Forwarded-For": who, "X-Forwarded-Proto": "https"} for who in (_SALESFORCE, _STRANGER))
    async with handoff(outbound={}, events=()) as world:
        body = _message(world)
        async with intake(world, allow=["13.108.0.0/14"]) as address:
            spoofed, _ = await deliver(address, body, headers=good)
        async with intake(world, allow=["13.108.0.0/14"], proxies=[_HERE]) as address:
            through_proxy, _ = await deliver(address, body, headers=good)
            stranger, _ = await deliver(address, body, headers=bad)
            direct, _ = await deliver(address, body)
            nonsense, _ = await deliver(address, body, headers={"X-Forwarded-For": "salesforce.com"})

        assert [403, 200, 403, 403, 400] == [spoofed, through_proxy, stranger, direct, nonsense]


async def test_only_the_proxies_part_of_the_header_counts() -> None:
    """Proxies append to the header, or add a further one; entries of the client before them are ignored."""
    chains = [
        {"X-Forwarded-For": f"{_SALESFORCE}, {_STRANGER}"},
        MultiDict([("X-Forwarded-For", _SALESFORCE), ("X-Forwarded-For", _STRANGER)]),
        {"X-Forwarded-For": f"{_STRANGER}, {_SALESFORCE}, 10.0.0.7"},
    ]
    async with (
        handoff(outbound={}, events=()) as world,
        intake(world, allow=["13.108.0.0/14"], proxies=[_HERE, "10.0.0.0/8"]) as address,
    ):
        statuses = [(await deliver(address, _message(world), headers=chain))[0] for chain in chains]

        assert [403, 403, 200] == statuses


async def test_a_contract_does_not_repeat_what_its_reader_says() -> None:
    """It has the address of the settings, else the one that intake listens on, whatever the Host header says."""
    forged = {"X-Forwarded-Proto": "https", "Host": "evil.example.com", "X-Forwarded-Host": "evil.example.com"}
    async with handoff(
        outbound={}, callouts={"keys": [SecretStr("a key of one org, made for this one test")]}, events=()
    ) as world:
        for url in (None, "https://closedwon.acme.com/in"):
            async with (
                intake(world, proxies=[_HERE], url=url) as address,
                aiohttp.ClientSession(headers=forged) as http,
            ):
                for path in ("/outbound/won-0", "/callouts/won-0/soap"):
                    contract = etree.fromstring(await (await http.get(f"{address}{path}?wsdl")).read())
                    (named,) = contract.iter("{http://schemas.xmlsoap.org/wsdl/soap/}address")
                    assert f"{url or address}{path}" == named.get("location")


async def test_the_allow_list_may_be_a_file_with_addresses_of_both_families(tmp_path: Path) -> None:
    """The file adds to the list; a file that cannot be used stops the start with an error that names the line."""
    networks = tmp_path / "salesforce.txt"
    async with handoff(outbound={}, events=()) as world:
        networks.write_text("# Salesforce\n13.108.0.0/14\n\n2001:db8::/32  # Hyperforce\n", encoding="utf-8")
        async with intake(world, allow=["198.51.100.0/24"], allow_file=networks, proxies=[_HERE]) as address:
            statuses = [
                (await deliver(address, _message(world), headers={"X-Forwarded-For": client}))[0]
                for client in (
                    _SALESFORCE,
                    "2001:db8::7",
                    "::ffff:13.108.1.2",
                    "198.51.100.4",
                    "2001:db9::7",
                    _STRANGER,
                )
            ]
        for content, complaint in (("13.108.0.0/14\nall\n", "line 2"), ("# none yet\n", "contains no network")):
            networks.write_text(content, encoding="utf-8")
            with pytest.raises(IntakeError, match=complaint):
                async with intake(world, allow_file=networks):
                    pass

        assert [200, 200, 200, 200, 403, 403] == statuses


async def test_forwarded_certificates_count_only_from_listed_proxies(tmp_path: Path) -> None:
    """By name or fingerprint, in both forms that proxies use; not from others, not two, not malformed ones."""
    authority = Authority(tmp_path, "ours")
    named, other, printed = (authority.issue(name) for name in ("salesforce", "somebody", "by-print"))
    pems = [pair[0].read_text(encoding="ascii") for pair in (named, other, printed)]
    rfc9440 = [f":{base64.b64encode(ssl.PEM_cert_to_DER_cert(pem)).decode()}:" for pem in pems]
    wanted = {"client_subjects": ["salesforce"], "client_fingerprints": [printed[2].upper()]}
    async with handoff(outbound={}, events=()) as world:
        body = _message(world)
        async with intake(world, proxies=[_HERE], forwarded_certificate=wanted) as address:
            values = [*rfc9440, *map(quote, pems), "", "nonsense", ":AAAA:"]
            statuses = [(await deliver(address, body, headers={"Client-Cert": one}))[0] for one in values]
            twice = MultiDict([("Client-Cert", rfc9440[0]), ("Client-Cert", rfc9440[0])])
            statuses += [(await deliver(address, body, headers=twice))[0], (await deliver(address, body))[0]]
        async with intake(world, proxies=["10.0.0.0/8"], forwarded_certificate=wanted) as address:
            spoofed, answer = await deliver(address, body, headers={"Client-Cert": rfc9440[0]})

        assert [200, 403, 200, 200, 403, 200, 403, 403, 403, 403, 403] == statuses
        assert 403 == spoofed
        assert "certificate" in answer


async def test_risky_settings_are_logged_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """The log of each start lists settings that are valid but risky."""
    async with handoff(outbound={}, events=()) as world, intake(world, allow=["0.0.0.0/0", "::/0"]):
        warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    assert 2 == sum("excludes almost no sender" in text for text in warned)
