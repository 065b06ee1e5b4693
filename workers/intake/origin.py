"""What proves that an outbound message comes from a route's org, and what of a path may be shown.

The secret is a segment of the path, since the endpoint's address is all that Salesforce lets an administrator set. So
it must not get to any place where paths are usually seen: every path that is logged goes through `Paths.shown`, and no
contract holds the secret. A wrong one is answered as an address that does not exist, after the same comparisons.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import web
from pydantic import SecretStr

from closedwon.settings import Route
from closedwon.settings.exposure import plain_fingerprint
from closedwon.settings.values import SHORTEST_SECRET
from workers.intake.delivery import RefusedError

NOTHING_HERE: Final = "there is nothing at this address for this method"
"""One text for every unknown address. Routes are named by `routes.outbound`, secrets by `closedwon secret path`."""
PLACEHOLDER: Final = "{secret}"
MASK: Final = "***"
_WORDS: Final = frozenset({"tombstones", "soap"})
"""What may follow the name of a route."""
_NO_SECRET: Final = SecretStr("")
"""What an unknown route is compared with, so that its answer takes as long."""


def check_origin(routes: Mapping[str, Route], request: web.Request, certificate: bytes | None) -> None:
    """Raise `RefusedError` unless the request's path and `certificate` (DER form) prove what its route wants proven."""
    route = routes.get(request.match_info["route"])
    outbound = route.outbound if route is not None else None
    given = request.match_info.get("secret")
    secrets = outbound.path_secrets if outbound is not None else ()
    is_right = _is_one_of(secrets or (_NO_SECRET,), given or "")
    if outbound is None:
        raise RefusedError(HTTPStatus.NOT_FOUND, "no-route", NOTHING_HERE)
    if not (is_right if secrets else given is None):
        raise RefusedError(HTTPStatus.NOT_FOUND, "path-secret" if secrets else "no-route", NOTHING_HERE)
    if outbound.client_fingerprints:
        wanted = set(map(plain_fingerprint, outbound.client_fingerprints))
        if certificate is None or hashlib.sha256(certificate).hexdigest() not in wanted:
            raise RefusedError(HTTPStatus.FORBIDDEN, "certificate", "this client certificate is not let in")


def _is_one_of(secrets: Iterable[SecretStr], given: str) -> bool:
    """Compare with each secret, also after a match: the time says neither which one it was nor how much was right.

    Digests are compared, since comparing texts of different lengths would say how long the secret is.
    """
    digest, matches = _digest(given), 0
    for secret in secrets:
        matches += hmac.compare_digest(digest, _digest(secret.get_secret_value()))
    return matches > 0


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


class Paths:
    """Makes the paths of requests fit to be logged."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take the `names` of routes and ERPs, which may be shown whatever their length."""
        self._names = frozenset(names)

    def shown(self, request: web.Request) -> str:
        """Return the path, encoded as it came, with everything masked that could be a secret or a part of one.

        The query is left out. What follows the name of a route is a secret or nothing, also where no route fits: a
        misspelt name, an upper-case letter or a slash too many does not make the secret behind it less secret.
        """
        segments = [part for part in request.rel_url.raw_path.split("/") if part]
        return "/" + "/".join(self._shown(place, part) for place, part in enumerate(segments))

    def _shown(self, place: int, segment: str) -> str:
        if segment in self._names or segment in _WORDS:
            return segment
        return segment if place < 2 and len(segment) < SHORTEST_SECRET // 2 else MASK  # noqa: PLR2004 - kind and name


def endpoint(request: web.Request, route: Route) -> str:
    """Return the address of the route's outbound messages as its caller sees it, with a placeholder for the secret."""
    has_secret = route.outbound is not None and route.outbound.path_secrets
    return f"{request.url.origin()}/outbound/{route.name}" + (f"/{PLACEHOLDER}" if has_secret else "")
