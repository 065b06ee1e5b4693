"""Listens for the Pub/Sub API on loopback, with a certificate that is made at the start, or in plain text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from closedwon.emulators.salesforce.pubsub.service import PubSub
from closedwon.pubsub_api import SERVICE

_VALID_FOR = timedelta(days=30)


class PubSubServer:
    """One gRPC server for the calls of an org. It keeps its port after `stop` and `start`."""

    def __init__(self, service: PubSub, *, port: int, tls: bool) -> None:
        """`port` 0 selects a free port."""
        self._service = service
        self._server: grpc.aio.Server | None = None
        self.port = port
        self.certificate, self._key = _new_certificate() if tls else (b"", b"")
        """PEM of the certificate, which is its own authority; empty in plain text."""

    @property
    def url(self) -> str:
        """The address for `orgs.pubsub_url`."""
        return f"{'https' if self.certificate else 'http'}://localhost:{self.port}"

    async def start(self) -> None:
        """Listen. Raises `OSError` if the port is in use."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handler = grpc.method_handlers_generic_handler(SERVICE, self._service.handlers())
        server.add_generic_rpc_handlers((handler,))
        address = f"127.0.0.1:{self.port}"
        try:
            if self.certificate:
                credentials = grpc.ssl_server_credentials([(self._key, self.certificate)])
                self.port = server.add_secure_port(address, credentials)
            else:
                self.port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"port {self.port} cannot be used") from error
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """End every call and stop listening."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None


def _new_certificate() -> tuple[bytes, bytes]:
    """A certificate for `localhost`, signed by itself, and its key, in PEM form."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Salesforce emulator")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALID_FOR)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), pem
