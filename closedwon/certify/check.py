"""A check: a stable name, a promise in one sentence, a function that verifies it, and how that ended.

What is checked (an ERP, an org) is the bench that the function gets; nothing here depends on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic
from typing import Final, Generic, NamedTuple, TypeVar

from closedwon.certify.report import CheckOutcome, Result
from closedwon.errors import ClosedwonError

_LONGEST: Final = timedelta(minutes=10)
"""The maximum for one check."""

_Bench = TypeVar("_Bench")


class FailedError(Exception):
    """The check has failed; the text says what was observed."""


class NotOfferedError(Exception):
    """What is checked does not offer it. `consequence` says what Closedwon does without it."""

    def __init__(self, facts: str, consequence: str) -> None:
        super().__init__(facts)
        self.consequence = consequence


def require(condition: object, otherwise: str) -> None:
    """Raise `FailedError` unless `condition` holds."""
    if not condition:
        raise FailedError(otherwise)


class CertificationCheck(NamedTuple, Generic[_Bench]):
    """One check. It creates what it needs, so each check can run alone."""

    name: str
    promise: str
    run: Callable[[_Bench], Awaitable[str]]
    """Returns what was observed. Raises `FailedError` or `NotOfferedError`; a `ClosedwonError` is a failure."""
    is_dangerous: bool = False
    """If it fails, the run ends, because further calls could change what belongs to others."""
    if_failed: str | None = None
    """What a failure means, and what to do about it."""


async def outcome_of(each: CertificationCheck[_Bench], bench: _Bench) -> Result:
    """Run one check."""
    began, outcome, consequence = monotonic(), CheckOutcome.FAILED, each.if_failed
    try:
        async with asyncio.timeout(_LONGEST.total_seconds()):
            facts = await each.run(bench)
        outcome, consequence = CheckOutcome.OK, None
    except NotOfferedError as error:
        outcome, facts, consequence = CheckOutcome.NOT_OFFERED, str(error), error.consequence
    except (FailedError, ClosedwonError) as error:
        facts = str(error)
    except TimeoutError:
        facts = f"the check did not end within {_LONGEST.total_seconds():.0f} s"
    return Result(
        name=each.name,
        promise=each.promise,
        outcome=outcome,
        facts=facts,
        consequence=consequence,
        seconds=round(monotonic() - began, 2),
    )
