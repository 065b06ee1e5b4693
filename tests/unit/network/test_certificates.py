"""When the certificates of a deployment expire."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from closedwon.certificates import certificates
from closedwon.settings import Intake, Settings, Tls
from tests.support.intake import Authority
from tests.support.network import tls_server

_Load = Callable[[str], Settings]


def _days(moment: datetime) -> int:
    return round((moment - datetime.now(UTC)) / timedelta(days=1))


async def test_certificates_of_files_and_servers_are_listed_with_their_expiry(
    example: str, load: _Load, ours: Authority, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    """Also those that have expired, or that are not trusted here; a server that does not answer is left out."""
    crt, key, _ = ours.issue("intake")
    client, client_key, _ = ours.issue("worker", expired=True)
    late, late_key, _ = ours.issue("late", expired=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(late, late_key)
    monkeypatch.setenv("TEMPORAL_ADDRESS", f"localhost:{unused_tcp_port}")
    monkeypatch.setenv("TEMPORAL_TLS_CLIENT_CERT_PATH", str(client))
    monkeypatch.setenv("TEMPORAL_TLS_CLIENT_KEY_PATH", str(client_key))
    settings = load(example)
    async with tls_server(context) as port:
        found = await certificates(
            settings.model_copy(
                update={
                    "intake": Intake(tls=Tls(certificate=crt, key=key, client_ca=ours.file)),
                    "orgs": tuple(org.model_copy(update={"url": f"https://localhost:{port}"}) for org in settings.orgs),
                    "erps": tuple(
                        erp.model_copy(update={"url": f"https://localhost:{unused_tcp_port}"}) for erp in settings.erps
                    ),
                    "alerts": None,
                }
            )
        )
    assert {
        ("Temporal's client certificate", "", -1),
        (f"org {settings.orgs[0].name}", f"localhost:{port}", -1),
        ("intake.tls.certificate", str(crt), 1),
        ("intake.tls.client_ca", str(ours.file), 1),
    } == {(one.name, one.where, _days(one.not_after)) for one in found}
    assert [-1, -1, 1, 1] == [_days(one.not_after) for one in found]


async def test_a_file_without_certificates_is_left_out(
    example: str, load: _Load, ours: Authority, tmp_path: Path, unused_tcp_port: int
) -> None:
    """Intake does not start with it, and says so itself."""
    _, key, _ = ours.issue("intake")
    empty = tmp_path / "empty.pem"
    empty.touch()
    settings = load(example)
    local = {"url": f"http://localhost:{unused_tcp_port}"}
    found = await certificates(
        settings.model_copy(
            update={
                "intake": Intake(tls=Tls(certificate=empty, key=key)),
                "orgs": tuple(org.model_copy(update=local) for org in settings.orgs),
                "erps": tuple(erp.model_copy(update=local) for erp in settings.erps),
                "alerts": None,
            }
        )
    )
    assert [] == found
