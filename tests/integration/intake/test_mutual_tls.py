"""Who may speak to intake: certificates, on real TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

import aiohttp
import pytest

from tests.support.handoff import handoff
from tests.support.intake import Authority, deliver, intake, soap_message


def _client(server_ca: Authority, pair: tuple[Path, Path, str] | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(server_ca.file))
    context.check_hostname = False  # the address is a bare number
    if pair is not None:
        context.load_cert_chain(pair[0], pair[1])
    return context


async def test_only_the_right_certificate_of_the_right_authority_is_let_in(tmp_path: Path) -> None:
    """Good by name, good by fingerprint; wrong authority, expired, wrong name and none are all turned away."""
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
