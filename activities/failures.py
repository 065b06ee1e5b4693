"""How our errors become Temporal failures.

What may be done about an error is a property of its type (`closedwon.errors`); this module only translates it.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, TemporalError

from activities.attempts import Attempt
from closedwon.errors import AttentionError, BenignError, RetryError
from closedwon.model.order_state import Problem


@contextmanager
def errors_as_failures(attempt: Attempt | None = None) -> Iterator[None]:
    """Turn our errors into Temporal failures, and carry on what is in doubt after the `attempt`.

    The cause is cut off on purpose: its message and stack trace would travel into Temporal's history and may hold
    what a remote system said about a customer. An unexpected error is reported by its kind and place only.
    """
    try:
        yield
    except AttentionError as error:
        raise ApplicationError(
            str(error),
            Problem(
                reason=error.reason,
                message=str(error),
                hint=error.hint,
                erp=error.erp,
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
            f"Unexpected {kind} in {place.name}, {Path(place.filename).name}:{place.lineno}", type=kind
        ) from None
