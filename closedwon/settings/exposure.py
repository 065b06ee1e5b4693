"""How far intake is exposed, and what proves the origin of a message: what is refused, held, or warned about.

Pure: nothing is sent over the network, and no secret is part of any text.

    channel                           what proves the org
    event bus                         our own login at the org's address
    outbound message                  nothing: the org id inside it is not a secret
      with `path_secrets`             the sender knows the secret; only the org's endpoint setting holds it
      with `client_fingerprints`      the sender holds the private key of a certificate that only this org has
    callout, ERP webhook              the signature, made with a shared key

A certificate that "Salesforce" shows, or that a public authority has signed, proves no org: every org can have one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from closedwon.settings.intake import Intake, is_wide
from closedwon.settings.problems import SettingsProblem
from closedwon.settings.routes import Route
from closedwon.settings.values import is_loopback, known

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
    if not networks:  # an empty list would admit every sender
        raise NetworksError(f"intake.allow_file {file} contains no network; write one per line, as in 13.108.0.0/14")
    return networks


def problems(routes: Sequence[Route], intake: Intake | None) -> Iterator[SettingsProblem]:
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
            yield SettingsProblem(("routes", place, "outbound", "path_secrets"), text)
        if route.outbound.client_fingerprints and not asks:
            text = (
                "needs `intake.tls.client_ca` or `intake.forwarded_certificate`: without one of them no client is "
                "asked for a certificate"
            )
            yield SettingsProblem(("routes", place, "outbound", "client_fingerprints"), text)
    yield from _shared_proofs(routes)
    forwarded = intake.forwarded_certificate if intake is not None else None
    if forwarded is not None and not (forwarded.client_subjects or forwarded.client_fingerprints or fingerprints):
        text = "admits no client; name `client_subjects` or `client_fingerprints`"
        yield SettingsProblem(("intake", "forwarded_certificate"), text)


def _shared_proofs(routes: Sequence[Route]) -> Iterator[SettingsProblem]:
    """What two routes share proves neither: a sender for one could send for the other."""
    secrets: dict[str, str] = {}
    owners: dict[str, Route] = {}
    for place, route in enumerate(routes):
        if route.outbound is None:
            continue
        for number, secret in enumerate(known(route.outbound.path_secrets)):
            first = secrets.setdefault(secret.get_secret_value(), f"routes[{place}] ({route.name})")
            if first != f"routes[{place}] ({route.name})" or secret in route.outbound.path_secrets[:number]:
                text = f"is a secret of {first} already; each needs its own, from `closedwon secret path`"
                yield SettingsProblem(("routes", place, "outbound", "path_secrets", number), text)
        for number, fingerprint in enumerate(route.outbound.client_fingerprints):
            owner = owners.setdefault(plain_fingerprint(fingerprint), route)
            if owner.org != route.org:
                text = f"is the certificate of org {owner.org!r} already (route {owner.name!r}); it cannot prove two"
                yield SettingsProblem(("routes", place, "outbound", "client_fingerprints", number), text)


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
                f"intake listens on {intake.host} unencrypted (`intake.insecure`): anyone on the network path can read "
                "path secrets and customers' data; add [intake.tls], or a proxy that ends TLS."
            )
        elif intake.proxies and all(network.is_loopback for network in intake.proxies):
            yield (
                f"intake listens on {intake.host} unencrypted, though its proxies are on this machine; set `host = "
                '"127.0.0.1"`, so that the proxies are the only way in.'
            )
    wide = [f"`intake.allow` holds {network}" for network in intake.allow if is_wide(network)]
    if intake.allow_file is not None and any(map(is_wide, _readable(intake.allow_file))):
        wide.append(f"intake.allow_file {intake.allow_file} holds a large part of the internet")
    for text in wide:
        yield f"{text}, which excludes almost no sender; name the networks that Salesforce publishes."
    for key, rules in (("tls", intake.tls), ("forwarded_certificate", intake.forwarded_certificate)):
        if rules is not None and _SHARED_SUBJECT in rules.client_subjects:
            yield (
                f"`intake.{key}.client_subjects` holds {_SHARED_SUBJECT}: all orgs have this certificate, so it proves "
                "Salesforce but not your org; add `path_secrets` or `client_fingerprints` to the routes."
            )


def open_routes(routes: Sequence[Route], intake: Intake) -> Iterator[tuple[str, str]]:
    """Yield what is wrong, and a hint, where any sender can push to some of the `routes`: these must be held."""
    bare = _bare(routes)
    if not bare or not _is_reachable(intake) or _limits_senders(intake):
        return
    text = f"Any sender that can reach intake can send outbound messages to {_listed(bare)} and so have records read"
    if _with_tombstones(bare):
        text += f", and orders cancelled by tombstones to {_listed(_with_tombstones(bare))}"
    hint = (
        "Add `outbound.path_secrets` (`closedwon secret path` prints one), or limit the networks by `intake.allow`, "
        "and restart all processes."
    )
    yield text, hint


def _of_origin(routes: Sequence[Route], intake: Intake) -> Iterator[str]:
    with_tombstones = _with_tombstones(_bare(routes))
    if with_tombstones and _is_reachable(intake) and _limits_senders(intake):
        yield (
            f"Nothing proves where tombstones to {_listed(with_tombstones)} come from: a forged one cancels the order "
            "of a record that our user may not read; add `outbound.path_secrets` (`closedwon secret path` prints one)."
        )
    yield from _shared_keys(routes)


def _bare(routes: Sequence[Route]) -> list[Route]:
    """The routes whose outbound messages prove nothing."""
    return [route for route in routes if route.outbound is not None and not route.outbound.proves_org]


def _with_tombstones(routes: Sequence[Route]) -> list[Route]:
    return [route for route in routes if route.outbound is not None and route.outbound.tombstone is not None]


def _is_reachable(intake: Intake) -> bool:
    """Whether other machines can send to intake."""
    return bool(not is_loopback(intake.host) or intake.proxies)


def _limits_senders(intake: Intake) -> bool:
    """Whether a sender needs an address or a certificate that not everybody has."""
    if intake.forwarded_certificate is not None or (intake.tls is not None and intake.tls.client_ca is not None):
        return True
    networks = [*intake.allow, *(_readable(intake.allow_file) if intake.allow_file is not None else ())]
    return bool(networks) and not any(map(is_wide, networks))


def _shared_keys(routes: Sequence[Route]) -> Iterator[str]:
    users: dict[str, list[Route]] = {}
    for route in routes:
        for key in known(route.callouts.keys) if route.callouts is not None else ():
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
