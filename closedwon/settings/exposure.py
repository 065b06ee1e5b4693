"""How far intake is open, and what proves where a message comes from: what is refused, and what is warned of.

Pure: nothing is asked over the network, and no secret is part of any text.

    channel                           what proves the org
    event bus                         our own login at the org's address
    outbound message                  nothing: the org id inside it is not a secret
      with `path_secrets`             who knows the secret; only the org's endpoint setting holds it
      with `client_fingerprints`      who holds the private key of a certificate that only this org has
    callout, word from the ERP        the signature, made with a shared key

A certificate that "Salesforce" shows, or that a public authority has signed, proves no org: every org can have one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from closedwon.settings.intake import Intake, is_wide
from closedwon.settings.problems import Problem
from closedwon.settings.routes import Route
from closedwon.settings.values import is_loopback

if TYPE_CHECKING:
    from closedwon.settings import Settings

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_SHARED_SUBJECT: Final = "proxy.salesforce.com"
"""The common name of the client certificate that Salesforce uses for all orgs."""


class NetworksError(ValueError):
    """A file that is not a list of networks. The text says where it is wrong."""


def networks_in(file: Path) -> list[_Network]:
    """Read one network or address a line; `#` begins a comment. Raises `NetworksError`, also for an empty list."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NetworksError(f"intake.allow_file {file} cannot be read: {type(error).__name__}") from error
    networks = []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError as error:
                raise NetworksError(f"intake.allow_file {file}, line {number}: {error}") from None
    if not networks:  # an empty list would let in everybody
        raise NetworksError(f"intake.allow_file {file} names no network; put one a line, as in 13.108.0.0/14")
    return networks


def problems(routes: Sequence[Route], intake: Intake | None) -> Iterator[Problem]:
    """Yield what the settings refuse about the proof of origin."""
    fingerprints = any(route.outbound is not None and route.outbound.client_fingerprints for route in routes)
    asks = intake is not None and (
        intake.forwarded_certificate is not None or (intake.tls is not None and intake.tls.client_ca is not None)
    )
    for place, route in enumerate(routes):
        if route.outbound is None:
            continue
        if route.source == "event" and not route.outbound.proves_org:
            text = (
                'is needed with source = "event": nothing else proves that a message comes from your org, and the '
                "order is made of it; `closedwon secret path` prints one (or name the org's own certificate in "
                '`client_fingerprints`, or set source = "record")'
            )
            yield Problem(("routes", place, "outbound", "path_secrets"), text)
        if route.outbound.client_fingerprints and not asks:
            text = (
                "needs `intake.tls.client_ca` or `intake.forwarded_certificate`: without one of them no client is "
                "asked for a certificate"
            )
            yield Problem(("routes", place, "outbound", "client_fingerprints"), text)
    yield from _shared_proofs(routes)
    forwarded = intake.forwarded_certificate if intake is not None else None
    if forwarded is not None and not (forwarded.client_subjects or forwarded.client_fingerprints or fingerprints):
        text = "lets nobody in; name `client_subjects` or `client_fingerprints`"
        yield Problem(("intake", "forwarded_certificate"), text)


def _shared_proofs(routes: Sequence[Route]) -> Iterator[Problem]:
    """What two routes share proves neither: whoever may speak for one could speak for the other."""
    secrets: dict[str, str] = {}
    owners: dict[str, Route] = {}
    for place, route in enumerate(routes):
        if route.outbound is None:
            continue
        for number, secret in enumerate(route.outbound.path_secrets):
            first = secrets.setdefault(secret.get_secret_value(), f"routes[{place}] ({route.name})")
            if first != f"routes[{place}] ({route.name})" or secret in route.outbound.path_secrets[:number]:
                text = f"is a secret of {first} already; each needs its own, from `closedwon secret path`"
                yield Problem(("routes", place, "outbound", "path_secrets", number), text)
        for number, fingerprint in enumerate(route.outbound.client_fingerprints):
            owner = owners.setdefault(plain_fingerprint(fingerprint), route)
            if owner.org != route.org:
                text = f"is the certificate of org {owner.org!r} already (route {owner.name!r}); it cannot prove two"
                yield Problem(("routes", place, "outbound", "client_fingerprints", number), text)


def plain_fingerprint(fingerprint: str) -> str:
    """Return a fingerprint as hashlib writes it."""
    return fingerprint.replace(":", "").lower()


def warnings(settings: Settings) -> list[str]:
    """Say what is allowed but open: one sentence each, with a hint. Reads `intake.allow_file`, nothing else."""
    intake = settings.intake
    return [] if intake is None else [*_of_network(intake), *_of_origin(settings.routes, intake)]


def _of_network(intake: Intake) -> Iterator[str]:
    is_local = is_loopback(intake.host)
    if intake.tls is None and not is_local:
        if intake.insecure and not intake.proxies:
            yield (
                f"intake listens on {intake.host} in clear (`intake.insecure`): whoever is on the way reads path "
                "secrets and customers' data; add [intake.tls], or a proxy that ends TLS."
            )
        elif intake.proxies and all(network.is_loopback for network in intake.proxies):
            yield (
                f"intake listens on {intake.host} in clear, though its proxies are on this machine; set `host = "
                '"127.0.0.1"`, so that the proxies are the only way in.'
            )
    wide = [f"`intake.allow` holds {network}" for network in intake.allow if is_wide(network)]
    if intake.allow_file is not None and any(map(is_wide, _readable(intake.allow_file))):
        wide.append(f"intake.allow_file {intake.allow_file} holds a large part of the internet")
    for text in wide:
        yield f"{text}, which keeps out no stranger; name the networks that Salesforce publishes."
    for key, rules in (("tls", intake.tls), ("forwarded_certificate", intake.forwarded_certificate)):
        if rules is not None and _SHARED_SUBJECT in rules.client_subjects:
            yield (
                f"`intake.{key}.client_subjects` holds {_SHARED_SUBJECT}: all orgs have this certificate, so it proves "
                "Salesforce but not your org; add `path_secrets` or `client_fingerprints` to the routes."
            )


def _of_origin(routes: Sequence[Route], intake: Intake) -> Iterator[str]:
    bare = [route for route in routes if route.outbound is not None and not route.outbound.proves_org]
    open_to_all = not is_loopback(intake.host) or intake.proxies
    if bare and open_to_all and not (intake.allow or intake.allow_file):
        yield (
            f"Whoever reaches intake can send outbound messages to {_listed(bare)} and so have records read: add "
            "`outbound.path_secrets` (`closedwon secret path` prints one), or limit the networks by `intake.allow`."
        )
    with_tombstones = [route for route in bare if route.outbound is not None and route.outbound.tombstone is not None]
    if with_tombstones and open_to_all:
        yield (
            f"Nothing proves where tombstones to {_listed(with_tombstones)} come from: a forged one cancels the order "
            "of a record that our user may not read; add `outbound.path_secrets` (`closedwon secret path` prints one)."
        )
    yield from _shared_keys(routes)


def _shared_keys(routes: Sequence[Route]) -> Iterator[str]:
    users: dict[str, list[Route]] = {}
    for route in routes:
        for key in route.callouts.keys if route.callouts is not None else ():
            users.setdefault(key.get_secret_value(), []).append(route)
    for sharing in users.values():
        if len({route.org for route in sharing}) > 1:
            yield (
                f"Routes of different orgs share a callout key ({_listed(sharing)}): each org can sign as the other; "
                "give each its own, from `closedwon secret callout`."
            )


def _readable(file: Path) -> Iterable[_Network]:
    try:
        return networks_in(file)
    except NetworksError:
        return ()  # intake says so when it starts


def _listed(routes: Iterable[Route]) -> str:
    return ", ".join(sorted({f"route {route.name}" for route in routes}))
