"""What one order meets and may pass by itself: its attempts fail for a while before a person is asked.

- A refusal of the ERP that concerns all of its orders, or that gives no reason, as a proxy's page: `RefusalsOfErp`.
- A refusal of an org that concerns all of its orders: `RefusalsOfOrg`.
- A name of the settings that this worker does not know: while settings are changed, workers with the old and the new
  ones take turns, and the next attempt may be another worker's.

Meanwhile the failure of the pending activity says what is missing: `closedwon orders show` and Temporal's UI show it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Hashable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, TypeVar

from temporalio import activity

from activities.at_once import NotAtOnceError, is_local
from activities.holds import Holds
from closedwon.erp.errors import RefusedForNowError, RejectedError, concerns_erp
from closedwon.errors import AttentionError, AttentionReason, ClosedwonError, RetryError
from closedwon.ids import OrgId
from closedwon.salesforce.errors import (
    CallRefusedError,
    ConfigurationError,
    RefusedError,
    SalesforceAuthFailedError,
)
from closedwon.streaks import WHILE, Streaks

_STREAKS: Final = Streaks()
"""Of this process."""
_CODES_ABOUT_RIGHTS: Final = frozenset({"INVALID_FIELD_FOR_INSERT_UPDATE"})
"""Salesforce's error codes for a field that our user may not write (REST API Developer Guide)."""
_SOON: Final = timedelta(minutes=1)
"""The maximum pause between two attempts: retries of hours would make each occurrence a trouble of its own."""


class NotHereError(RetryError):
    """This worker does not know a name of the settings; another one may."""


def not_here(kind: str, name: str, key: str, *, otherwise: str = "") -> ClosedwonError:
    """What a name that this worker does not know means: a `NotHereError` for a while, then an `AttentionError`.

    `key` is the table of the settings in which the name is missing; `otherwise` adds another remedy to the hint.
    """
    info = activity.info()
    left = _STREAKS.left((info.workflow_id, kind, name))
    text = f"This worker has no {kind} named {name!r}"
    hint = f"Add it to `{key}` in closedwon.toml, restart the worker"
    if left:
        minutes = WHILE.seconds // 60
        return NotHereError(
            f"{text}, so its settings are older or newer than those of others; for {minutes} minutes the next attempt "
            f"may be another worker's. If none has it: {hint}",
            retry_after=min(left, _SOON),
        )
    return AttentionError(text, reason=AttentionReason.CONFIGURATION, hint=f"{hint}, then send `retry`{otherwise}.")


_Result = TypeVar("_Result")


class RefusalsOfOrg:
    """Refusals of orgs, as the activities treat them."""

    def __init__(self, holds: Holds) -> None:
        """`holds` checks an org that refuses what all of its orders have in common."""
        self._holds = holds

    async def held(self, call: Awaitable[_Result], org: OrgId) -> _Result:
        """Make a call; have the org checked when it refuses a name, a right, the login, or such calls as a whole.

        Raises `HeldError` if the check fails, too, and else the refusal.
        """
        try:
            return await call
        except (AttentionError, CallRefusedError) as error:
            if _concerns_org(error):
                if is_local():  # a check takes too long for it: the regular activity finds the same, and checks
                    raise NotAtOnceError("Salesforce refuses a name, a right, the login or the whole call") from None
                await self._holds.doubt(org)
            raise


def _concerns_org(error: AttentionError | CallRefusedError) -> bool:
    """Whether every order would be refused so, whichever the record."""
    if isinstance(error, RefusedError):  # our user may not write a field
        return error.code in _CODES_ABOUT_RIGHTS
    return isinstance(error, ConfigurationError | SalesforceAuthFailedError | CallRefusedError)


class UnexplainedError(RetryError):
    """The ERP, or a proxy before it, refuses an order without saying why."""


class RefusalsOfErp:
    """Refusals of ERPs, as the activities treat them."""

    def __init__(self, holds: Holds, streaks: Streaks = _STREAKS) -> None:
        """`holds` checks an ERP that refuses all orders."""
        self._holds = holds
        self._streaks = streaks

    @asynccontextmanager
    async def passing(self, erp: str) -> AsyncIterator[None]:
        """Run a block that calls an ERP; decide which of its refusals are tried again.

        Raises `RefusedForNowError` or `UnexplainedError` for a while, `HeldError` if the ERP refuses its check, too,
        and the refusal itself if only this order meets it. An order that waited for days has a while of its own.
        """
        trouble = (activity.info().workflow_id, erp)
        try:
            yield
        except RefusedForNowError as error:
            if self._streaks.left(trouble):
                raise
            refusal: AttentionError = error.refusal
        except AttentionError as error:
            error.erp = error.erp or erp
            if not concerns_erp(error):
                self._wait_for_a_reason(error, trouble)
                raise
            refusal = error
        except RetryError:
            raise
        else:
            self._streaks.end(trouble)
            return
        refusal.erp = refusal.erp or erp
        await self._holds.doubt_erp(erp)
        raise refusal

    def _wait_for_a_reason(self, error: AttentionError, trouble: Hashable) -> None:
        if not isinstance(error, RejectedError) or error.is_explained:
            return
        left = self._streaks.left(trouble)
        if left:
            raise UnexplainedError(
                f"{error}; that may be a proxy's answer, so it is tried again for a while",
                retry_after=min(left, _SOON),
            ) from None
