"""The certificates that the connections of a deployment depend on, and when they expire.

For `doctor`, `config check` and the metrics: an expired certificate stops all orders at once, and is announced for
months. Files are read, and servers are asked for theirs, side by side. What cannot be read or does not answer is left
out here: other checks report it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from temporalio.service import TLSConfig

from closedwon.network.failures import NetworkError
from closedwon.network.http import Http
from closedwon.settings import Settings
from closedwon.temporal.target import TemporalUnavailableError, client_certificate, read_target


class Certificate(NamedTuple):
    """One certificate. Of a chain or a list of authorities, the one that expires first."""

    name: str
    """What it is for: the setting of a file, or the system that shows it."""
    where: str
    """The path of the file, or `host:port`; empty for one that comes from Temporal's environment."""
    not_after: datetime


async def certificates(settings: Settings) -> list[Certificate]:
    """Read and ask for all of them, within about five seconds; the one that expires first comes first."""
    async with Http(timeout=timedelta(seconds=5)) as http:
        asked = await asyncio.gather(*(_shown(http, name, url) for name, url in _servers(settings)))
    found = [*_files(settings), *_of_temporal_client(), *(one for one in asked if one is not None)]
    return sorted(found, key=lambda one: one.not_after)


def _files(settings: Settings) -> Iterator[Certificate]:
    tls = settings.intake.tls if settings.intake is not None else None
    if tls is None:
        return
    for key, path in (("certificate", tls.certificate), ("client_ca", tls.client_ca)):
        not_after = expiry_of(path) if path is not None else None
        if not_after is not None:
            yield Certificate(f"intake.tls.{key}", str(path), not_after)


def expiry_of(path: Path) -> datetime | None:
    """When the first of a file's certificates expires; None for a file without any, or that cannot be read."""
    try:
        return min(one.not_valid_after_utc for one in x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError):
        return None


def _of_temporal_client() -> Iterator[Certificate]:
    with suppress(TemporalUnavailableError, ValueError):
        certificate = client_certificate(read_target())
        if certificate is not None:
            yield Certificate("Temporal's client certificate", "", certificate.not_valid_after_utc)


def _servers(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the https addresses that this deployment calls, with a name for people."""
    addresses = [
        *((f"org {org.name}", org.url) for org in settings.orgs),
        *((f"erp {erp.name}", erp.url) for erp in settings.erps),
    ]
    if settings.alerts is not None:
        addresses.append(("alerts.webhook", settings.alerts.webhook.get_secret_value()))
    if settings.codec.tokens is not None:
        addresses.append(("codec.tokens.keys", settings.codec.tokens.keys))
    with suppress(TemporalUnavailableError):
        target = read_target()
        if target["tls"] is True or isinstance(target["tls"], TLSConfig):
            addresses.append(("temporal", f"https://{target['target_host']}"))
    yield from ((name, url) for name, url in addresses if url.startswith("https:"))


async def _shown(http: Http, name: str, url: str) -> Certificate | None:
    try:
        certificate = await http.certificate_of(url)
    except NetworkError:
        return None
    parts = urlsplit(url)
    where = f"{parts.hostname}:{parts.port or 443}"
    return Certificate(name, where, certificate.not_valid_after_utc) if certificate is not None else None
