"""How our errors become Temporal failures, and how a call survives its worker.

What may be done about an error is a property of its type (`closedwon.errors`); this module only translates it.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, TemporalError

from activities.attempts import HEARTBEAT_TIMEOUT, Attempt
from closedwon.errors import AttentionError, BenignError, RetryError
from closedwon.order_state import Problem

__all__ = ["HEARTBEAT_TIMEOUT", "as_failures", "to_its_end"]

_HEARTBEAT_EVERY: Final = 3.0
"""Seconds; the first beat comes after one interval, so a quick call costs no extra round trip."""

_Result = TypeVar("_Result")


@contextmanager
def as_failures(attempt: Attempt | None = None) -> Iterator[None]:
    """Turn our errors into Temporal failures, and carry on what is in doubt after the `attempt`.

    The cause is cut off on purpose: its message and stack trace would travel into Temporal's history and may hold
    what a remote system said about a customer. Of an error that nobody foresaw only kind and place are told.
    """
    try:
        yield
    except AttentionError as error:
        raise ApplicationError(
            str(error),
            Problem(
                reason=error.reason,
                message=str(error),
                cure=error.cure,
                in_doubt_since=attempt.in_doubt_since if attempt else None,
            ),
            type=type(error).__name__,
            non_retryable=True,
        ) from None
    except RetryError as error:
        if attempt:
            attempt.record_end()
        benign = isinstance(error, BenignError)
        raise ApplicationError(
            str(error),
            type=type(error).__name__,
            next_retry_delay=error.retry_after,
            category=ApplicationErrorCategory.BENIGN if benign else ApplicationErrorCategory.UNSPECIFIED,
        ) from None
    except TemporalError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, its text may hold anything
        if attempt:
            attempt.record_end()
        kind, place = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1]
        raise ApplicationError(
            f"Unforeseen {kind} in {place.name}, {Path(place.filename).name}:{place.lineno}", type=kind
        ) from None


async def to_its_end(call: Coroutine[Any, Any, _Result]) -> _Result:
    """Run `call` with heartbeats, and to its end even when a cancellation arrives meanwhile.

    Heartbeats let the server notice a killed worker in seconds instead of at the call's own timeout. But they also
    deliver cancellations, and a call that has left for the ERP or for Salesforce must not be torn off half-way: its
    true outcome is what the workflow waits for (`WAIT_CANCELLATION_COMPLETED`). Only a worker whose shutdown grace is
    over gives up.
    """
    task = asyncio.ensure_future(call)
    try:
        while not task.done():
            try:
                await asyncio.wait({task}, timeout=_HEARTBEAT_EVERY)
            except asyncio.CancelledError:
                details = activity.cancellation_details()
                if details is None or details.worker_shutdown:
                    raise
            if not task.done():
                activity.heartbeat()
        return task.result()
    finally:
        if not task.done():
            task.cancel()
