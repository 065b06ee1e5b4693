"""Signed callouts: who sent this body, and is it now? HMAC-SHA256 with a shared key, as Apex can compute it.

    X-Closedwon-Timestamp: 1793700000                      Unix time of signing, in whole seconds
    X-Closedwon-Signature: v1=<64 hexadecimal digits>      HMAC-SHA256(key, timestamp + "." + body)

Key and timestamp are taken as UTF-8, the body is the bytes as they came. Two keys are valid while one replaces the
other. A signature is good once: whoever sends again signs again (which is why a body holds an id of its own).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import SecretStr

from closedwon.errors import ClosedwonError

TIMESTAMP_HEADER: Final = "X-Closedwon-Timestamp"
SIGNATURE_HEADER: Final = "X-Closedwon-Signature"
WINDOW: Final = timedelta(minutes=5)
"""How far the sender's clock may be from ours, either way."""

_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_SIGNATURE = re.compile(r"v1=([0-9a-fA-F]{64})", re.ASCII)


class Refusal(StrEnum):
    """Why a signature is not believed: stable words, used in metrics."""

    MISSING = "signature-missing"
    MALFORMED = "signature-malformed"
    STALE = "signature-stale"
    WRONG = "signature-wrong"
    REPLAYED = "signature-replayed"


class SignatureError(ClosedwonError):
    """A request that is not believed. Tells neither what the right signature is nor which key was tried."""

    def __init__(self, message: str, *, reason: Refusal) -> None:
        """Take a `message` for the caller and the `reason` for metrics."""
        super().__init__(message)
        self.reason = reason


class Seen:
    """The signatures of one process that were good once, for as long as they would still be in time.

    Only good ones are kept, so its size is that of what our own callers send within ten minutes.
    """

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._until: dict[str, datetime] = {}

    def add(self, signature: str, now: datetime) -> bool:
        """Remember `signature`; whether it is new. `now` never goes back by more than some seconds."""
        while self._until and next(iter(self._until.values())) < now:  # in the order in which they were added
            del self._until[next(iter(self._until))]
        if signature in self._until:
            return False
        # Signed up to one window ahead of us, and good until one window after that.
        self._until[signature] = now + 2 * WINDOW
        return True

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._until)


def verify(headers: Mapping[str, str], body: bytes, keys: Sequence[SecretStr], now: datetime, seen: Seen) -> None:
    """Return when one of `keys` signed `body` within the window before or after `now` (aware), for the first time.

    `headers` find their names in any case. Raises `SignatureError`. Comparing takes the same time for every wrong
    signature.
    """
    timestamp, signature = headers.get(TIMESTAMP_HEADER), headers.get(SIGNATURE_HEADER)
    if not timestamp or not signature:
        raise SignatureError(
            f"Sign the request: {TIMESTAMP_HEADER} and {SIGNATURE_HEADER} are needed.", reason=Refusal.MISSING
        )
    given = _SIGNATURE.fullmatch(signature)
    if given is None or not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureError(
            f"{TIMESTAMP_HEADER} must be Unix time in whole seconds, {SIGNATURE_HEADER} 'v1=' and 64 hexadecimal "
            "digits.",
            reason=Refusal.MALFORMED,
        )
    if abs(now.timestamp() - int(timestamp)) > WINDOW.total_seconds():
        raise SignatureError(
            f"The request was signed more than {WINDOW.seconds // 60} minutes away from our clock; sign it anew.",
            reason=Refusal.STALE,
        )
    digest = given[1].lower()
    # With an empty key everybody can sign: it counts as none.
    secrets = (key.get_secret_value() for key in keys if key.get_secret_value())
    if not any(hmac.compare_digest(digest, _sign(secret, timestamp, body)) for secret in secrets):
        raise SignatureError(
            "The signature does not fit timestamp, body and key; see `routes.callouts.keys`.", reason=Refusal.WRONG
        )
    if not seen.add(digest, now):
        raise SignatureError("This signature was used before; sign the request anew.", reason=Refusal.REPLAYED)


def _sign(key: str, timestamp: str, body: bytes) -> str:
    return hmac.digest(key.encode(), f"{timestamp}.".encode() + body, "sha256").hex()
