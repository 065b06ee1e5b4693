"""A check: a stable name, a promise in one sentence, and a function that sees whether it is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from closedwon.certify.bench import Bench

Run = Callable[[Bench], Awaitable[str]]
"""Returns the facts seen; raises `FailedError`, `NotOfferedError`, or what the adapter raises, which is a failure."""


class Check(NamedTuple):
    """One check. It makes the orders that it needs, so each can be run alone."""

    name: str
    promise: str
    run: Run
    is_dangerous: bool = False
    """After its failure nothing more is asked of the ERP: its answers could lead to orders that are not ours."""


def check(name: str, promise: str, *, is_dangerous: bool = False) -> Callable[[Run], Check]:
    """Make a check of a function."""
    return lambda run: Check(name, promise, run, is_dangerous)
