"""Intake: the server that Salesforce calls. Who may speak to it, and how much."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, IPvAnyNetwork, model_validator

from closedwon.settings.problems import Problem, ProblemsError
from closedwon.settings.values import Duration, File, Section, is_loopback, shaped

Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{2}(:?[0-9a-fA-F]{2}){31}$")]
"""SHA-256 of a certificate in DER form, in hexadecimal; colons are allowed."""

_WIDEST_IPV4: Final = 8
_WIDEST_IPV6: Final = 16
"""Prefix lengths. Shorter ones are large parts of the internet (two halves of it are all of it)."""
_PRIVATE_IPV6: Final = ipaddress.IPv6Network("fc00::/7")


def is_wide(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    """Whether a network holds so many addresses that to be in it says nothing about a sender."""
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
    """PEM: who may have signed the client's certificate."""
    client_subjects: tuple[str, ...] = ()
    """Common names of clients that are let in. A shared certificate proves Salesforce, not your org."""
    client_fingerprints: tuple[Fingerprint, ...] = ()
    """Clients that are let in, beside those of `routes.outbound.client_fingerprints`."""

    @model_validator(mode="after")
    def _clients_need_a_ca(self) -> Self:
        if (self.client_subjects or self.client_fingerprints) and self.client_ca is None:
            raise ValueError("`client_subjects` and `client_fingerprints` need `client_ca`, or nobody is asked for one")
        return self


class ForwardedCertificate(Section):
    """Behind a proxy that ends mutual TLS: whom to let in of those whose certificates the proxy has verified.

    Somebody must be let in: here, or by `routes.outbound.client_fingerprints`.
    """

    header: Annotated[str, shaped(r"[A-Za-z0-9-]+", "the name of an HTTP header")] = "Client-Cert"
    """Where the proxy puts the certificate: as in RFC 9440, or as percent-encoded PEM."""
    client_subjects: tuple[str, ...] = ()
    client_fingerprints: tuple[Fingerprint, ...] = ()


class Intake(Section):
    """The HTTP server for outbound messages and callouts. Without this table there is none."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8085
    tls: Tls | None = None
    """Without it, put intake behind a proxy that ends TLS."""
    insecure: bool = False
    """Allow other machines to speak to intake in clear, without TLS and without `proxies`: for closed networks only."""
    allow: tuple[IPvAnyNetwork, ...] = ()
    """Networks that may connect, e.g. `["13.108.0.0/14"]`; empty: all."""
    allow_file: File | None = None
    """More of them, one a line, `#` begins a comment; read at start."""
    proxies: tuple[Annotated[IPvAnyNetwork, AfterValidator(_check_proxy)], ...] = ()
    """Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed; nobody else's are."""
    forwarded_certificate: ForwardedCertificate | None = None
    """The client's certificate, as one of `proxies` tells it."""
    deadline: Duration = timedelta(seconds=10)
    """Longest time to an answer; for callouts at most 8 s. Salesforce waits 60 s for outbound messages, Apex 10 s."""
    largest_body: Annotated[int, Field(ge=1024)] = 4 * 1024 * 1024
    """Bytes; 100 notifications with many fields are below 1 MiB."""
    concurrent_requests: Annotated[int, Field(ge=1)] = 64
    """More are refused; Salesforce sends them again."""
    requests_per_second: Annotated[float, Field(gt=0)] = 50.0
    """Of one org, on average; ten seconds' worth may come at once. More are refused."""

    @model_validator(mode="after")
    def _a_proxy_tells_certificates(self) -> Self:
        if self.forwarded_certificate is not None and not self.proxies:
            raise ValueError("`forwarded_certificate` needs `proxies`, or nobody is believed who tells one")
        return self

    @model_validator(mode="after")
    def _is_not_in_clear(self) -> Self:
        """Path secrets, customers' data and signatures would cross the network readable."""
        if self.tls is None and not (self.proxies or self.insecure or is_loopback(self.host)):
            text = (
                "is not this machine only, and messages would arrive in clear: add [intake.tls], or name the `proxies` "
                'that end TLS, or set host = "127.0.0.1"; in a closed network, `insecure = true` allows it'
            )
            raise ProblemsError([Problem(("host",), text)])
        return self
