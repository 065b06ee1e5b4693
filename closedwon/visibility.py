"""Counting in Temporal's list of workflows, which can neither sort nor group: how many, how old, for which reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from temporalio.client import Client, WorkflowExecution

from closedwon import names, temporal
from closedwon.errors import AttentionReason

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


def at_stage(stage: names.OrderStage) -> str:
    """The list filter for what stands at a stage now."""
    return f"ExecutionStatus = 'Running' AND {names.ORDER_STAGE} = '{stage}'"


async def reasons(client: Client, attention: Census, known: Iterable[str] = AttentionReason) -> Counter[str]:
    """Count what needs attention, which `attention` is the census of, by its reason.

    Where there are many, the `known` reasons are counted one by one. Raises Temporal's `RPCError`.
    """
    if attention.executions is not None:
        key = temporal.KEYS[names.ATTENTION_REASON]
        found = (one.typed_search_attributes.get(key) for one in attention.executions)
        return Counter(reason or AttentionReason.UNFORESEEN for reason in found)
    query = f"{at_stage(names.OrderStage.ATTENTION)} AND {names.ATTENTION_REASON}"
    return +Counter({reason: (await client.count_workflows(f"{query} = '{reason}'")).count for reason in known})


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
