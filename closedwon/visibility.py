"""Counting in Temporal's list of workflows, which can neither sort nor group. No decisions about what is counted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from temporalio.client import Client, WorkflowExecution

_PAGE: Final = 100
"""Executions in one listing. Where there are more, they are counted, and the oldest is searched for."""
_SEARCH: Final = 24
"""Listings at most in a search for the oldest one."""


class Census(NamedTuple):
    """The workflows that a list filter finds."""

    number: int
    oldest: timedelta
    """Age of the oldest, to 1 %; 0 without any."""
    executions: tuple[WorkflowExecution, ...] | None
    """Every one of them, where they are few."""


async def census(client: Client, query: str) -> Census:
    """Count them and find the age of the oldest. Raises Temporal's `RPCError`."""
    page = await _list(client, query)
    now = datetime.now(UTC)
    if len(page) < _PAGE:
        return Census(len(page), _age(page, now), tuple(page))
    counted = await client.count_workflows(query)
    return Census(counted.count, await _oldest(client, query, _age(page, now), now), None)


async def _oldest(client: Client, query: str, young: timedelta, now: datetime) -> timedelta:
    """Find the age of the oldest one. Temporal cannot sort, so ever older ones are asked for.

    `young` is an age that some have.
    """
    old: timedelta | None = None
    for _ in range(_SEARCH):
        age = young * 2 if old is None else (young + old) / 2
        page = await _list(client, f"{query} AND StartTime < '{(now - age).isoformat()}'")
        if not page:
            old = age
        elif len(page) < _PAGE:
            return _age(page, now)
        else:
            young = _age(page, now)
        if old is not None and old - young < young / 100:
            break
    return young


async def _list(client: Client, query: str) -> list[WorkflowExecution]:
    return [one async for one in client.list_workflows(query, page_size=_PAGE, limit=_PAGE)]


def _age(page: Sequence[WorkflowExecution], now: datetime) -> timedelta:
    return max((now - one.start_time for one in page), default=timedelta(0))
