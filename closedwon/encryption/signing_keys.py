"""The public keys of the identity provider (JWKS, RFC 7517), by which the codec server verifies tokens."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from http import HTTPStatus
from typing import Final

import jwt

from closedwon.network.failures import NetworkError
from closedwon.network.http import Http

_TIMEOUT: Final = timedelta(seconds=5)
_LIFETIME: Final = 300.0
"""Seconds until the document is read again."""
_PAUSE: Final = 10.0
"""Seconds between two reads at least: tokens with unknown keys must not make this server ask all the time."""


class KeysUnavailableError(Exception):
    """The document cannot be read. The text completes a sentence that begins with the setting's name."""


class SigningKeys:
    """Reads the document when it is needed, and again when it is old or lacks a key."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = Http(timeout=_TIMEOUT)
        self._lock = asyncio.Lock()
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._read_at: float | None = None
        self._failure: tuple[float, KeysUnavailableError] | None = None

    async def of(self, token: str) -> jwt.PyJWK:
        """Return the key that a token names. Raises `KeysUnavailableError`, or `jwt.PyJWTError` for a wrong token."""
        name = jwt.get_unverified_header(token).get("kid")
        async with self._lock:
            age = None if self._read_at is None else time.monotonic() - self._read_at
            if age is None or age > _LIFETIME or (name not in self._keys and age > _PAUSE):
                self._keys = await self._read_once()
                self._read_at = time.monotonic()
        if name not in self._keys:
            raise jwt.InvalidTokenError("its key is not one of the identity provider's")
        return self._keys[name]

    async def close(self) -> None:
        """Release connections."""
        await self._http.close()

    async def _read_once(self) -> dict[str | None, jwt.PyJWK]:
        """Read the document, but not again within the pause after a failure."""
        if self._failure is not None and time.monotonic() - self._failure[0] < _PAUSE:
            raise self._failure[1]
        try:
            keys = await self._read()
        except KeysUnavailableError as error:
            self._failure = time.monotonic(), error
            raise
        self._failure = None
        return keys

    async def _read(self) -> dict[str | None, jwt.PyJWK]:
        try:
            reply = await self._http.call("GET", self._url)
        except NetworkError as error:
            raise KeysUnavailableError(f"cannot be read: {error}. {error.hint}") from error
        if reply.status != HTTPStatus.OK:
            raise KeysUnavailableError(f"cannot be read: it answers {reply.status}")
        try:
            keys = jwt.PyJWKSet.from_dict(reply.json()).keys
        except (jwt.PyJWTError, ValueError, AttributeError, TypeError) as error:
            raise KeysUnavailableError(f"is not a JWKS document: {type(error).__name__}") from error
        return {key.key_id: key for key in keys if key.public_key_use in {None, "sig"}}
