"""A check: a stable name, a promise in one sentence, and a function that verifies it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from closedwon.certify.bench import Bench

Run = Callable[[Bench], Awaitable[str]]
"""Returns what was observed. Raises `FailedError` or `NotOfferedError`; an error of the adapter is a failure."""


class CertificationCheck(NamedTuple):
    """One check. It creates the orders that it needs, so each check can run alone."""

    name: str
    promise: str
    run: Run
    is_dangerous: bool = False
    """If it fails, the run ends, because further calls could change orders of other records."""


def check(name: str, promise: str, *, is_dangerous: bool = False) -> Callable[[Run], CertificationCheck]:
    """Turn a function into a check."""
    return lambda run: CertificationCheck(name, promise, run, is_dangerous)
