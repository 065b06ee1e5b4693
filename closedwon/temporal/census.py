"""Counts of Temporal's list of workflows, which can neither sort nor group: how many, how old, for which reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from temporalio.client import Client, WorkflowExecution

from closedwon import names
from closedwon.errors import AttentionReason
from closedwon.temporal import visibility
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS

_PAGE: Final = 100
"""Executions in one listing. If there are more, they are counted, and the age of the oldest is searched for."""
_SEARCH: Final = 24
"""Maximum number of listings in a search for the oldest execution."""


class Census(NamedTuple):
    """The workflows that a filter finds."""

    number: int
    oldest: timedelta
    """Age of the oldest, accurate to 1 %; 0 if there is none."""
    executions: tuple[WorkflowExecution, ...] | None
    """All of them; None if there are `_PAGE` or more."""


async def reasons(client: Client, attention: Census, known: Iterable[str] = AttentionReason) -> Counter[str]:
    """Count what needs attention by its reason; `attention` is the census of that stage.

    If there are many, only the `known` reasons are counted, each by a request. Raises Temporal's `RPCError`.
    """
    if attention.executions is not None:
        key = SEARCH_ATTRIBUTE_KEYS[names.ATTENTION_REASON]
        found = (one.typed_search_attributes.get(key) for one in attention.executions)
        return Counter(reason or AttentionReason.UNEXPECTED_ERROR for reason in found)
    at_stage = visibility.at_stage(names.OrderStage.ATTENTION)
    return +Counter(
        {
            reason: (
                await client.count_workflows(
                    visibility.all_of(at_stage, visibility.equals(names.ATTENTION_REASON, reason))
                )
            ).count
            for reason in known
        }
    )


async def census(client: Client, query: str) -> Census:
    """Count workflows and find the age of the oldest. Raises Temporal's `RPCError`."""
    page = await _list(client, query)
    now = datetime.now(UTC)
    if len(page) < _PAGE:
        return Census(len(page), _age(page, now), tuple(page))
    counted = await client.count_workflows(query)
    return Census(counted.count, await _oldest(client, query, _age(page, now), now), None)


async def _oldest(client: Client, query: str, young: timedelta, now: datetime) -> timedelta:
    """Find the age of the oldest workflow by bisection, since Temporal cannot sort.

    `young` is an age that at least one workflow has.
    """
    old: timedelta | None = None
    for _ in range(_SEARCH):
        age = young * 2 if old is None else (young + old) / 2
        page = await _list(client, visibility.all_of(query, visibility.started_before(now - age)))
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
