"""What `closedwon doctor` says about ERPs that get less than they could, and about the orders that wait."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from temporalio.client import Client

from closedwon.facts.queues import Queue
from closedwon.facts.waits import example
from closedwon.names import OrderStage
from closedwon.operations.troubles import Harm, Trouble, clock, hours
from closedwon.temporal import visibility
from closedwon.temporal.census import Census

_SOON: Final = timedelta(minutes=2)
"""An order that still waits for a system after this time is reported, even if each of its calls succeeds in the end."""
_AT_A_SYSTEM: Final = (OrderStage.ORDERING, OrderStage.WRITING_BACK, OrderStage.CANCELLING)
"""Stages that take seconds where nothing is slow."""


def paused_erps(queues: Sequence[Queue]) -> Iterator[Trouble]:
    """ERPs that an operator has paused or limited, and those that no worker can connect to."""
    for queue in queues:
        if queue.erp is not None and queue.limit is not None:
            why = f" ({queue.reason}; {queue.by})"
            since = clock(queue.since) if queue.since else "an unknown time"
            text = f"{queue.limit_text} since {since}{why}; {queue.backlog} wait"
            harm = Harm.WAITING if queue.is_paused else Harm.RISK
            yield Trouble(harm, f"erp {queue.erp}", text, f"To resume: closedwon erp resume {queue.erp}")
        if queue.erp is not None and queue.breaker.limit is not None:
            yield _broken(queue)


def _broken(queue: Queue) -> Trouble:
    breaker = queue.breaker
    since = clock(breaker.since) if breaker.since else "an unknown time"
    text = f"{breaker.status} since {since} ({breaker.text}); {queue.backlog} wait in its queue"
    hint = f"They go on by themselves when it is reached. To send all of them now: closedwon erp resume {queue.erp}"
    return Trouble(Harm.WAITING, f"erp {queue.erp}", text, hint)


async def slow_orders(client: Client, stages: Mapping[OrderStage, Census]) -> AsyncIterator[Trouble]:
    """Orders that have waited for a system for longer than it should take, with what one of them waits for."""
    for stage in _AT_A_SYSTEM:
        found = stages[stage]
        if found.number and found.oldest > _SOON:
            trouble = _at(stage, found)
            yield trouble._replace(text=trouble.text + await example(client, visibility.at_stage(stage)))


def idle_orders(stages: Mapping[OrderStage, Census]) -> Iterator[Trouble]:
    """Orders that are at the ERP, and not for long. A problem only if an ERP has one."""
    found = stages[OrderStage.ORDERING]
    if found.number and found.oldest <= _SOON:
        yield _at(OrderStage.ORDERING, found)


def _at(stage: OrderStage, found: Census) -> Trouble:
    number = f"{found.number} order{'' if found.number == 1 else 's'}"
    text = f"{number} at the stage {stage}, the oldest for {hours(found.oldest)}"
    system = "Salesforce" if stage is OrderStage.WRITING_BACK else "the ERP"
    hint = f"They wait for {system}; nothing is lost. When it responds again: closedwon orders retry --all"
    return Trouble(Harm.WAITING, stage, text, hint)
