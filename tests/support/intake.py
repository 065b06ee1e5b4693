"""Speaking to intake as Salesforce does, and certificates made for one test."""

from __future__ import annotations

import io
import os
import ssl
import tomllib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from multidict import CIMultiDict
from pydantic import SecretStr
from temporalio.common import MetricMeter

from closedwon.demo.stack import Stack
from closedwon.ids import RecordId
from closedwon.intake import IntakeServer
from closedwon.settings import Intake
from closedwon.telemetry.metrics import Metrics
from tests.support.handoff import Handoff
from tests.support.outbound import message, notification

_DEADLINE = timedelta(seconds=55)
"""As long as Salesforce waits: a hundred orders of one message may take a busy machine more than the usual ten seconds,
and Salesforce would come back after a minute of its own clock."""
PATH_SECRET = "c2VjcmV0-of-one-test_4fGz81QwLmNpX7Yh"
PROVEN: dict[str, Any] = {"path_secrets": [SecretStr(PATH_SECRET)]}
"""The `outbound` of a route whose messages prove their org."""
PROVEN_ROUTE = f"won-0/{PATH_SECRET}"
"""Where they go."""


def soap_message(org: str, records: Iterable[str], *, first: int = 1, object_name: str = "Opportunity") -> bytes:
    """An outbound message with one notification per record."""
    notifications = [
        notification(RecordId(f"04l{number:012d}"), {"Id": record}, type_=object_name)
        for number, record in enumerate(records, first)
    ]
    return message(notifications, org=org)


def tombstones(org: str, records: Iterable[str]) -> bytes:
    """An outbound message about deleted records."""
    notifications = [
        notification(
            RecordId(f"04l{number:012d}"),
            {"Id": "a00000000000001AAA", "Record_Id__c": record},
            type_="Deleted_Record__c",
        )
        for number, record in enumerate(records, 900)
    ]
    return message(notifications, org=org)


@asynccontextmanager
async def intake(world: Handoff, meter: MetricMeter = MetricMeter.noop, **settings: object) -> AsyncIterator[str]:
    """A running intake server of the world; its address."""
    asked = Intake.model_validate({"port": 0, "deadline": _DEADLINE, **settings})
    server = IntakeServer(world.settings, asked, world.client, Metrics(meter))
    await server.start()
    try:
        yield server.address
    finally:
        await server.stop()


async def deliver(
    address: str,
    body: bytes,
    *,
    route: str = "won-0",
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Post one message; status and body of the answer."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls if tls is not None else True)) as session,
        session.post(
            f"{address}/outbound/{route}",
            data=io.BytesIO(body),
            headers=CIMultiDict(
                [("Content-Type", "text/xml; charset=utf-8"), ("SOAPAction", '""'), *(headers or {}).items()]
            ),
        ) as response,
    ):
        return response.status, await response.text()


def intake_url(stack: Stack) -> str:
    """Where the intake of a stack takes outbound messages."""
    port = tomllib.loads(stack.config.read_text(encoding="utf-8"))["intake"]["port"]
    return f"http://localhost:{port}/outbound/won-deals"


def memory(pid: int) -> int:
    """Resident bytes of a process (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Authority:
    """A certificate authority for one test."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(self._name, self._key, ca=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, expired: bool = False, host: str = "localhost") -> tuple[Path, Path, str]:
        """Files of a certificate for a `host` and of its key, and its SHA-256 fingerprint."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, expired=expired, host=host)
        at = self._folder / f"{self.file.stem}-{name}"
        at.with_suffix(".crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        at.with_suffix(".key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return at.with_suffix(".crt"), at.with_suffix(".key"), certificate.fingerprint(hashes.SHA256()).hex()

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *,
        ca: bool = False,
        expired: bool = False,
        host: str = "localhost",
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=-1 if expired else 1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(_usage(ca=ca), critical=True)
            .sign(self._key, hashes.SHA256())
        )


def _usage(*, ca: bool) -> x509.KeyUsage:
    """What a strict verifier (Python 3.13 and later) wants to see."""
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
