"""When the certificates at both ends of every link expire, and how old the keys are.

Our own certificates are read from the files of the settings, those of the others by a TLS handshake, which also works
with one that has expired. The certificate that Salesforce shows to intake is known in its handshakes only; a failure is
counted by `closedwon_tls_handshake_failures`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from pydantic import SecretStr
from temporalio.service import TLSConfig

from closedwon.network.failures import NetworkError
from closedwon.network.http import Http
from closedwon.settings import RestErp, Settings
from closedwon.settings.values import FileSecret, known
from closedwon.temporal.key_checks import KeyCheck
from closedwon.temporal.target import TemporalUnavailableError, own_settings, read_target

SOON: Final = timedelta(days=21)
"""How long before its end a certificate is reported."""
OLD: Final = timedelta(days=335)
"""The age from which on a key is reported: a month before it is a year old."""


class Expiry(NamedTuple):
    """A certificate, by the link that it belongs to."""

    link: str
    """`intake`, `temporal`, `org <name>`, `erp <name>` or `alerts`."""
    side: str
    """`ours`, `theirs`, or `authority`: those that may sign the other side's; the last of them to expire counts."""
    at: datetime
    setting: str
    """Where it, or the address of the other side, is named."""

    @property
    def labels(self) -> dict[str, str]:
        """Of the metric."""
        return {"link": self.link, "side": self.side}

    @property
    def text(self) -> str:
        """For people: whose it is."""
        whose = {"ours": "our certificate", "theirs": "its certificate", "authority": "the authority of its clients"}
        return whose[self.side] if self.link == "intake" or self.side != "authority" else "the authority that we trust"


class KeyAge(NamedTuple):
    """A secret that should be replaced now and then."""

    name: str
    """The setting, and which one; no secret."""
    since: datetime
    """When Temporal first knew it, or when its file was written."""


def own_certificates(settings: Settings) -> list[Expiry]:
    """Read the files; one that this process cannot read is left out. Raises `TemporalUnavailableError`."""
    found: list[Expiry | None] = []
    if settings.intake is not None and settings.intake.tls is not None:
        tls = settings.intake.tls
        found.append(_of_file("intake", "ours", tls.certificate, "intake.tls.certificate"))
        if tls.client_ca is not None:
            found.append(_of_file("intake", "authority", tls.client_ca, "intake.tls.client_ca"))
    found += [
        _of_file(f"erp {erp.name}", "ours", erp.client_cert, "erps.client_cert")
        for erp in settings.erps
        if isinstance(erp, RestErp) and erp.client_cert is not None
    ]
    temporal = own_settings().get("tls")
    if isinstance(temporal, TLSConfig):
        if temporal.client_cert:
            found.append(_of_pem("temporal", "ours", temporal.client_cert, "TEMPORAL_TLS_CLIENT_CERT_PATH"))
        if temporal.server_root_ca_cert:
            name = "TEMPORAL_TLS_SERVER_CA_CERT_PATH"
            found.append(_of_pem("temporal", "authority", temporal.server_root_ca_cert, name))
    return [one for one in found if one is not None]


async def their_certificates(settings: Settings, *, patience: float) -> list[Expiry]:
    """Ask all others by a TLS handshake; those that do not answer within `patience` seconds are left out."""
    async with Http(timeout=timedelta(seconds=patience)) as http:
        found = await asyncio.gather(*(_of_peer(http, link, url, name) for link, url, name in _peers(settings)))
    return [one for one in found if one is not None]


def key_ages(settings: Settings, checks: Iterable[KeyCheck]) -> list[KeyAge]:
    """The encryption key that encrypts, by Temporal's note; the secrets of pushes, by the time of their files."""
    first = next(iter(checks), None)
    ages = [KeyAge(f"encryption.keys {first.key_id}", first.since)] if first is not None and first.since else []
    for name, secrets in _push_secrets(settings):
        files = [secret.file for secret in secrets if isinstance(secret, FileSecret) and secret.file.exists()]
        ages += [KeyAge(name, datetime.fromtimestamp(file.stat().st_mtime, UTC)) for file in files]
    return ages


def _push_secrets(settings: Settings) -> Iterator[tuple[str, Sequence[SecretStr]]]:
    for route in settings.routes:
        if route.callouts is not None:
            yield f"routes.callouts.keys of route {route.name}", route.callouts.keys
        if route.outbound is not None:
            yield f"routes.outbound.path_secrets of route {route.name}", route.outbound.path_secrets
    for erp in settings.erps:
        if erp.webhook is not None:
            yield f"erps.webhook.keys of ERP {erp.name}", erp.webhook.keys


def _peers(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield the https addresses that this deployment calls: link, address, and the setting that has it.

    An address that is the secret of another role is left out, and Temporal's if its settings cannot be read.
    """
    peers = [
        *((f"org {org.name}", org.url, "orgs.url") for org in settings.orgs),
        *((f"erp {erp.name}", erp.url, "erps.url") for erp in settings.erps),
    ]
    if settings.alerts is not None:
        peers += [("alerts", one.get_secret_value(), "alerts.webhook") for one in known([settings.alerts.webhook])]
    with suppress(TemporalUnavailableError):  # said where Temporal is asked
        target = read_target()
        if target["tls"]:
            peers.append(("temporal", f"https://{target['target_host']}", "TEMPORAL_ADDRESS"))
    yield from (peer for peer in peers if peer[1].startswith("https:"))


async def _of_peer(http: Http, link: str, url: str, setting: str) -> Expiry | None:
    try:
        shown = await http.certificate_of(url)
    except NetworkError:
        return None
    return Expiry(link, "theirs", shown.not_valid_after_utc, setting) if shown is not None else None


def _of_file(link: str, side: str, file: Path, setting: str) -> Expiry | None:
    try:
        return _of_pem(link, side, file.read_bytes(), setting)
    except OSError:
        return None


def _of_pem(link: str, side: str, pem: bytes, setting: str) -> Expiry | None:
    try:
        ends = [one.not_valid_after_utc for one in x509.load_pem_x509_certificates(pem)]
    except ValueError:
        return None
    return Expiry(link, side, max(ends) if side == "authority" else ends[0], setting)
