"""Signatures of callouts: prove who sent a body, and when. HMAC-SHA256 with a shared key, which Apex can compute.

    X-Closedwon-Timestamp: 1793700000                      Unix time of signing, in whole seconds
    X-Closedwon-Signature: v2=<64 hexadecimal digits>      HMAC-SHA256(key, "v2." + timestamp + "." + path + "." + body)
                           v1=<64 hexadecimal digits>      HMAC-SHA256(key, timestamp + "." + body)

Key, timestamp and path are encoded as UTF-8; the body is the bytes as received. The path is `/callouts/<route>` (of
both forms) or `/erp/<name>`, as intake calls it, whatever a proxy makes of it: a signature for one route is not good
for another one that shares its key. `v1` does not cover it, and is accepted for callers that sign so.

Two keys are valid while one replaces the other. A signature is valid once in a process: a caller that sends again must
sign again, so a body has an id of its own. That is only the first defense: another process accepts it once more.
It has no effect there, because what it names is known by the same ids, and the record itself is read again.
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
"""Maximum difference between the sender's clock and ours, in either direction."""

_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_SIGNATURE = re.compile(r"(v[12])=([0-9a-fA-F]{64})", re.ASCII)


class SignatureRefusal(StrEnum):
    """Why a signature is rejected: stable values, used in metrics."""

    MISSING = "signature-missing"
    MALFORMED = "signature-malformed"
    STALE = "signature-stale"
    WRONG = "signature-wrong"
    REPLAYED = "signature-replayed"


class SignatureError(ClosedwonError):
    """A request whose signature is rejected. Reveals neither the correct signature nor the keys that were tried."""

    def __init__(self, message: str, *, reason: SignatureRefusal) -> None:
        """`message` is for the caller, `reason` for metrics."""
        super().__init__(message)
        self.reason = reason


class SeenSignatures:
    """The signatures that one process has accepted, for as long as they are within the time window.

    Only accepted ones are stored, so the size is bounded by what our own callers send within ten minutes.
    """

    def __init__(self) -> None:
        """The set is empty."""
        self._until: dict[str, datetime] = {}

    def add(self, signature: str, now: datetime) -> bool:
        """Store `signature` and return whether it is new. `now` must not go back by more than a few seconds."""
        while self._until and next(iter(self._until.values())) < now:  # in the order in which they were added
            del self._until[next(iter(self._until))]
        if signature in self._until:
            return False
        # Signed up to one window ahead of us, and good until one window after that.
        self._until[signature] = now + 2 * WINDOW
        return True

    def __len__(self) -> int:
        """The number of stored signatures."""
        return len(self._until)


def verify(
    headers: Mapping[str, str],
    body: bytes,
    keys: Sequence[SecretStr],
    now: datetime,
    seen: SeenSignatures,
    *,
    path: str,
) -> None:
    """Return if one of `keys` signed `body` within the window around `now` (aware) and `seen` lacks the signature.

    `path` is that of route or ERP, which signatures of version 2 cover. `headers` find their names in any case.
    Raises `SignatureError` otherwise. Comparing takes the same time for every wrong signature.
    """
    timestamp, signature = headers.get(TIMESTAMP_HEADER), headers.get(SIGNATURE_HEADER)
    if not timestamp or not signature:
        raise SignatureError(
            f"Sign the request: {TIMESTAMP_HEADER} and {SIGNATURE_HEADER} are required.",
            reason=SignatureRefusal.MISSING,
        )
    given = _SIGNATURE.fullmatch(signature)
    if given is None or not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureError(
            f"{TIMESTAMP_HEADER} must be Unix time in whole seconds, {SIGNATURE_HEADER} 'v2=' and 64 hexadecimal "
            "digits.",
            reason=SignatureRefusal.MALFORMED,
        )
    if abs(now.timestamp() - int(timestamp)) > WINDOW.total_seconds():
        raise SignatureError(
            f"The request was signed more than {WINDOW.seconds // 60} minutes away from our clock; sign it again.",
            reason=SignatureRefusal.STALE,
        )
    digest = given[2].lower()
    signed = f"{timestamp}." if given[1] == "v1" else f"v2.{timestamp}.{path}."
    # An empty key is ignored: anyone could sign with it.
    secrets = (key.get_secret_value() for key in keys if key.get_secret_value())
    if not any(hmac.compare_digest(digest, _sign(secret, signed, body)) for secret in secrets):
        raise SignatureError(
            "The signature does not match timestamp, path, body and key; see `routes.callouts.keys` or "
            "`erps.webhook.keys`.",
            reason=SignatureRefusal.WRONG,
        )
    if not seen.add(digest, now):
        raise SignatureError(
            "This signature was used before; sign the request again.", reason=SignatureRefusal.REPLAYED
        )


def _sign(key: str, before: str, body: bytes) -> str:
    return hmac.digest(key.encode(), before.encode() + body, "sha256").hex()
