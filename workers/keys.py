"""Whether this process has the encryption keys that Temporal knows: at its start, at each look, and for `/readyz`.

A process that starts with a wrong key ends. One that runs meets a wrong key if Temporal was replaced or restored, or if
an operator has replaced the check value; it ends its work gracefully, is not ready, and starts its work again when the
key is right. So nothing is written with a wrong key, and no person must restart it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Final

from temporalio.client import Client
from temporalio.service import RPCError

from closedwon.temporal.key_checks import WrongKeyError, ensure_key_checks, verify_keys

_log = logging.getLogger(__name__)

_AGAIN: Final = 5.0
"""Seconds between looks of a process that waits for the right key."""


class KeyWatch:
    """What one process knows of its keys."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._error: WrongKeyError | None = None
        self._is_wrong = asyncio.Event()

    async def ensure(self, client: Client) -> None:
        """Refuse a wrong key, and write check values that are missing. Raises `WrongKeyError`, or `RPCError`."""
        await self._note(ensure_key_checks(client))

    async def verify(self, client: Client) -> None:
        """Refuse a wrong key. Raises `WrongKeyError`, or Temporal's `RPCError`, which changes nothing."""
        await self._note(verify_keys(client))

    @property
    def is_wrong(self) -> bool:
        """Whether the last look has found a wrong key."""
        return self._is_wrong.is_set()

    async def until_wrong(self) -> None:
        """Wait until a look has found a wrong key."""
        await self._is_wrong.wait()

    async def until_right(self, client: Client) -> None:
        """Look again and again, until the keys are right."""
        _log.error("%s. Until the key is right, nothing is accepted and nothing is processed", self._error)
        while True:
            try:
                await self.verify(client)
            except (WrongKeyError, RPCError):
                await asyncio.sleep(_AGAIN)
            else:
                return

    async def _note(self, look: Awaitable[None]) -> None:
        try:
            await look
        except WrongKeyError as error:
            self._error = error
            self._is_wrong.set()
            raise
        self._is_wrong.clear()
