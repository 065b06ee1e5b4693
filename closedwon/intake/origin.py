"""Verifies that an outbound message comes from a route's org, and makes request paths safe for logs.

The secret is a segment of the path, because an administrator can set only the endpoint's address in Salesforce. So the
secret must not appear where paths are usually visible: every logged path goes through `Paths.shown`, and no contract
contains the secret. A wrong secret gets the same answer as an unknown address, after the same comparisons.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import web
from pydantic import SecretStr

from closedwon.intake.delivery import MessageRefusedError
from closedwon.settings import Route
from closedwon.settings.exposure import plain_fingerprint
from closedwon.settings.values import SHORTEST_SECRET

NOTHING_HERE: Final = "this address does not exist for this method"
"""The same text for every unknown address, so that it reveals neither routes nor secrets."""
PLACEHOLDER: Final = "{secret}"
MASK: Final = "***"
_SUFFIXES: Final = frozenset({"tombstones", "soap"})
"""Segments that may follow the name of a route."""
_NO_SECRET: Final = SecretStr("")
"""Compared with the path of an unknown route, so that its answer takes the same time."""


def check_origin(routes: Mapping[str, Route], request: web.Request, certificate: bytes | None) -> None:
    """Raise `MessageRefusedError` unless path and `certificate` (DER form) satisfy the route's settings."""
    route = routes.get(request.match_info["route"])
    outbound = route.outbound if route is not None else None
    given = request.match_info.get("secret")
    secrets = outbound.path_secrets if outbound is not None else ()
    is_right = _is_one_of(secrets or (_NO_SECRET,), given or "")
    if outbound is None:
        raise MessageRefusedError(HTTPStatus.NOT_FOUND, "no-route", NOTHING_HERE)
    if not (is_right if secrets else given is None):
        raise MessageRefusedError(HTTPStatus.NOT_FOUND, "path-secret" if secrets else "no-route", NOTHING_HERE)
    if outbound.client_fingerprints:
        wanted = set(map(plain_fingerprint, outbound.client_fingerprints))
        if certificate is None or hashlib.sha256(certificate).hexdigest() not in wanted:
            raise MessageRefusedError(HTTPStatus.FORBIDDEN, "certificate", "this client certificate is not allowed")


def _is_one_of(secrets: Iterable[SecretStr], given: str) -> bool:
    """Compare with each secret, even after a match, so that the time reveals neither a secret nor how much was right.

    Digests are compared, because comparing texts of different lengths would reveal the length of the secret.
    """
    digest, matches = _digest(given), 0
    for secret in secrets:
        matches += hmac.compare_digest(digest, _digest(secret.get_secret_value()))
    return matches > 0


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


class Paths:
    """Makes the paths of requests safe for logs."""

    def __init__(self, names: Iterable[str]) -> None:
        """`names` of routes and ERPs are shown regardless of their length."""
        self._names = frozenset(names)

    def shown(self, request: web.Request) -> str:
        """Return the path, encoded as received, with everything masked that could be a secret or a part of one.

        The query is omitted. A segment after the name of a route is a secret or nothing, even if no route matches: a
        misspelled name, an upper-case letter or an extra slash does not make the secret after it less secret.
        """
        segments = [part for part in request.rel_url.raw_path.split("/") if part]
        return "/" + "/".join(self._shown(place, part) for place, part in enumerate(segments))

    def _shown(self, place: int, segment: str) -> str:
        if segment in self._names or segment in _SUFFIXES:
            return segment
        return segment if place < 2 and len(segment) < SHORTEST_SECRET // 2 else MASK  # noqa: PLR2004 - kind and name


def endpoint(base: str, route: Route) -> str:
    """Return the address of the route's outbound messages below that of intake, with a placeholder for the secret."""
    has_secret = route.outbound is not None and route.outbound.path_secrets
    return f"{base}/outbound/{route.name}" + (f"/{PLACEHOLDER}" if has_secret else "")
