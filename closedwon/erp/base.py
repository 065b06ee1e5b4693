"""What every ERP adapter offers, and the errors it may raise.

An adapter is a thin client: four calls, no retries of its own, no state. The rule that makes orders exactly-once
(look before creating, look again after every unknown outcome, the ERP's unique constraint has the last word) lives
in `find_or_create`, once, for all adapters.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from closedwon.errors import AttentionError, AttentionReason, BenignError, ClosedwonError, UnknownOutcomeError
from closedwon.model import ErpOrder, Order


class DuplicateError(ClosedwonError):
    """The ERP has an order with this idempotency key already: find and adopt it. Never leaves `find_or_create`."""


class RejectedError(AttentionError):
    """The ERP refuses the order for a business reason that no retry can change."""

    def __init__(
        self, message: str, *, reason: AttentionReason = AttentionReason.ERP_REJECTED, cure: str | None = None
    ) -> None:
        """Take the ERP's own words, shortened, as `message`."""
        super().__init__(message, reason=reason, cure=cure or "Mend the order's data or the ERP's, then send `retry`.")


class AuthFailedError(AttentionError):
    """The ERP refuses our credentials: stop and alert, never hammer."""

    def __init__(self, message: str, *, cure: str) -> None:
        """Name the setting that holds the credential in `cure`."""
        super().__init__(message, reason=AttentionReason.ERP_AUTH_FAILED, cure=cure)


class BusyError(BenignError):
    """The ERP asks for patience: 429, 503, a lock."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        """Pass on `Retry-After` where the ERP sent one."""
        super().__init__(message, retry_after=retry_after)


class UnknownError(UnknownOutcomeError):
    """Timeout, disconnect, 500, 502, 504: the call may have taken effect."""


class TooLateError(AttentionError):
    """The order can no longer be cancelled."""

    def __init__(self, message: str) -> None:
        """Say in which state the order is."""
        super().__init__(
            message,
            reason=AttentionReason.TOO_LATE_TO_CANCEL,
            cure="Cancel its invoice and shipment in the ERP by hand, then send `cancel` again; or leave the order and send `retry`.",
        )


class Erp(Protocol):
    """One configured ERP. Every call raises `RejectedError`, `AuthFailedError`, `BusyError` or `UnknownError`."""

    name: str

    async def find(self, idempotency_key: str) -> ErpOrder | None:
        """Look the order up by its idempotency key."""

    async def create(self, order: Order) -> ErpOrder:
        """Create the order, perhaps only as a draft. Raises `DuplicateError` when the key is taken."""

    async def advance(self, found: ErpOrder) -> ErpOrder:
        """Take the order to confirmed or beyond; state-guarded, so safe to repeat."""

    async def cancel(self, found: ErpOrder) -> ErpOrder:
        """Cancel the order. Raises `TooLateError` when the ERP has begun to process it."""

    async def check(self) -> str:
        """Connect and say in one line what was found, for `closedwon config check`."""

    async def close(self) -> None:
        """Release connections."""
