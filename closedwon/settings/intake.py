"""Intake: the HTTP server that Salesforce calls. Which clients may connect, and how much they may send."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, IPvAnyNetwork, model_validator

from closedwon.settings.problems import ProblemsError, SettingsProblem
from closedwon.settings.values import Duration, File, Section, Url, is_loopback, shaped

Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{2}(:?[0-9a-fA-F]{2}){31}$")]
"""SHA-256 of a certificate in DER form, in hexadecimal; colons are allowed."""

_WIDEST_IPV4: Final = 8
_WIDEST_IPV6: Final = 16
"""Prefix lengths. Shorter ones are large parts of the internet (two halves of it are all of it)."""
_PRIVATE_IPV6: Final = ipaddress.IPv6Network("fc00::/7")


def is_wide(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    """Whether a network holds so many addresses that membership says nothing about a sender."""
    if isinstance(network, ipaddress.IPv6Network):
        return network.prefixlen < _WIDEST_IPV6 and not network.subnet_of(_PRIVATE_IPV6)
    return network.prefixlen < _WIDEST_IPV4


def _check_proxy(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> IPvAnyNetwork:
    if is_wide(network):
        raise ValueError(
            "holds a large part of the internet: every sender in it could forge its address and its certificate; "
            "name the addresses of your proxies"
        )
    return network


class Tls(Section):
    """TLS of intake's own. With `client_ca`, a client must show a certificate (mutual TLS)."""

    certificate: File
    """PEM: the server's certificate, then the intermediate ones."""
    key: File
    client_ca: File | None = None
    """PEM: the authorities that may have signed the client's certificate."""
    client_subjects: tuple[str, ...] = ()
    """Common names of clients that are admitted. A shared certificate proves Salesforce, not your org."""
    client_fingerprints: tuple[Fingerprint, ...] = ()
    """Clients that are admitted, besides those of `routes.outbound.client_fingerprints`."""

    @model_validator(mode="after")
    def _clients_need_a_ca(self) -> Self:
        if (self.client_subjects or self.client_fingerprints) and self.client_ca is None:
            raise ValueError(
                "`client_subjects` and `client_fingerprints` need `client_ca`: without it, no client "
                "must show a certificate"
            )
        return self


class ForwardedCertificate(Section):
    """Behind a proxy that ends mutual TLS: which of the clients that the proxy has verified are admitted.

    At least one client must be admitted: here, or by `routes.outbound.client_fingerprints`.
    """

    header: Annotated[str, shaped(r"[A-Za-z0-9-]+", "the name of an HTTP header")] = "Client-Cert"
    """Where the proxy puts the certificate: as in RFC 9440, or as percent-encoded PEM."""
    client_subjects: tuple[str, ...] = ()
    client_fingerprints: tuple[Fingerprint, ...] = ()


class Intake(Section):
    """The HTTP server for outbound messages and callouts. Without this table, no such server runs."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8085
    tls: Tls | None = None
    """Without it, put intake behind a proxy that ends TLS."""
    insecure: bool = False
    """Accept unencrypted connections from other machines without TLS and `proxies`: for closed networks only."""
    allow: tuple[IPvAnyNetwork, ...] = ()
    """Networks that may connect, e.g. `["13.108.0.0/14"]`; empty: all. Orgs on Hyperforce call from others:
    https://ip-ranges.salesforce.com/ip-ranges.json."""
    allow_file: File | None = None
    """A file with more networks, one per line, `#` begins a comment; read at start."""
    proxies: tuple[Annotated[IPvAnyNetwork, AfterValidator(_check_proxy)], ...] = ()
    """Proxies whose `X-Forwarded-For` is trusted; that of all other senders is ignored."""
    forwarded_certificate: ForwardedCertificate | None = None
    """The client's certificate, as one of `proxies` forwards it."""
    deadline: Duration = timedelta(seconds=10)
    """Maximum response time; for callouts at most 8 s. Salesforce waits 60 s for outbound messages, Apex 10 s."""
    largest_body: Annotated[int, Field(ge=1024)] = 4 * 1024 * 1024
    """Bytes; 100 notifications with many fields are below 1 MiB."""
    concurrent_requests: Annotated[int, Field(ge=1)] = 64
    """Of a channel, of senders that have proven their org, and as many of the others; further ones are refused, and
    Salesforce sends them again."""
    connections: Annotated[int, Field(ge=8)] = 500
    """Further ones replace the longest idle; fewer if the process may open fewer than twice as many files."""
    records_per_second: Annotated[float, Field(gt=0)] = 200.0
    """Of one org and channel, on average; ten seconds' worth may arrive at once. An address that proves no org has a
    quarter of it. Further requests are refused."""
    unproven_records_per_hour: Annotated[float, Field(gt=0)] = 1000.0
    """New records of one org, from senders that prove nothing; one address has a half of it."""
    url: Url | None = None
    """The address under which senders reach intake, for the WSDLs that it serves."""

    @model_validator(mode="after")
    def _certificates_come_from_a_proxy(self) -> Self:
        if self.forwarded_certificate is not None and not self.proxies:
            raise ValueError("`forwarded_certificate` needs `proxies`: the header is trusted from these addresses only")
        return self

    @model_validator(mode="after")
    def _is_encrypted(self) -> Self:
        """Without TLS, path secrets, customers' data and signatures would cross the network unencrypted."""
        if self.tls is None and not (self.proxies or self.insecure or is_loopback(self.host)):
            text = (
                "accepts connections from other machines, and messages would arrive unencrypted: add [intake.tls], "
                'or name the `proxies` that end TLS, or set host = "127.0.0.1"; in a closed network, '
                "`insecure = true` allows it"
            )
            raise ProblemsError([SettingsProblem(("host",), text)])
        return self
