"""How our errors become Temporal failures.

What may be done about an error is a property of its type (`closedwon.errors`); this module only translates it.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, TemporalError

from activities.at_once import is_local
from activities.attempts import Attempt
from activities.doubts import Doubts
from activities.holds import HeldError
from closedwon.errors import AttentionError, BenignError, DoubtfulError, RetryError
from closedwon.model.order_state import Problem

_doubts: Final = Doubts()


@contextmanager
def errors_as_failures(attempt: Attempt | None = None) -> Iterator[None]:
    """Turn our errors into Temporal failures, and carry on what is in doubt after the `attempt`.

    The cause is cut off on purpose: its message and stack trace would travel into Temporal's history and may hold
    what a remote system said about a customer. An unexpected error is reported by its kind and place only.
    """
    try:
        yield
    except DoubtfulError as error:
        # A local activity is not retried: its regular activity makes the first attempt that counts.
        pause = None if is_local() else _doubts.pause(_this_activity())
        if pause is None and not is_local():
            raise _for_good(error.attention, attempt) from None
        raise _to_retry(error, attempt, pause) from None
    except AttentionError as error:
        end_doubt()
        raise _for_good(error, attempt) from None
    except RetryError as error:
        if isinstance(error, HeldError):  # what may have been permanent has been decided on, for all orders
            end_doubt()
        raise _to_retry(error, attempt, error.retry_after) from None
    except TemporalError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, its text may hold anything
        if attempt:
            attempt.record_end()
        kind, place = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1]
        raise ApplicationError(
            f"Unexpected {kind} in {place.name}, {Path(place.filename).name}:{place.lineno}", type=kind
        ) from None
    else:
        end_doubt()


def end_doubt() -> None:
    """What may have been permanent has ended: the next doubt of this activity has the whole time again."""
    _doubts.end(_this_activity())


def _this_activity() -> tuple[str | None, str | None, str] | None:
    """None outside an activity, where nothing is retried."""
    if not activity.in_activity():
        return None
    info = activity.info()
    return info.workflow_id, info.workflow_run_id, info.activity_id


def _for_good(error: AttentionError, attempt: Attempt | None) -> ApplicationError:
    problem = Problem(
        reason=error.reason,
        message=str(error),
        hint=error.hint,
        erp=error.erp,
        in_doubt_since=attempt.in_doubt_since if attempt else None,
    )
    return ApplicationError(str(error), problem, type=type(error).__name__, non_retryable=True)


def _to_retry(error: RetryError, attempt: Attempt | None, pause: timedelta | None) -> ApplicationError:
    if attempt:
        attempt.record_end()
    benign = isinstance(error, BenignError)
    # By one name: readers of a pending activity ask whether it is in doubt (`closedwon.temporal.channels`).
    kind = DoubtfulError if isinstance(error, DoubtfulError) else type(error)
    return ApplicationError(
        str(error),
        type=kind.__name__,
        next_retry_delay=pause,
        category=ApplicationErrorCategory.BENIGN if benign else ApplicationErrorCategory.UNSPECIFIED,
    )
