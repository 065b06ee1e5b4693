"""What `closedwon doctor` says about ERPs that get less than they could, and about the orders that wait for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from closedwon.names import OrderStage
from closedwon.operations.erps import Queue
from closedwon.operations.overview import Overview
from closedwon.operations.troubles import Harm, Trouble, clock, hours

_ORDERING: Final = "ordering"


def paused_erps(seen: Overview) -> Iterator[Trouble]:
    """ERPs that an operator has paused or limited, and those that no worker can connect to."""
    for queue in seen.queues:
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


def orders_at_the_erp(seen: Overview) -> Iterator[Trouble]:
    """How many orders are at the ERP. A problem only if an ERP has one; see `without_idle_reports`."""
    ordering = seen.stages[OrderStage.ORDERING]
    if ordering.number:
        number = f"{ordering.number} order{'' if ordering.number == 1 else 's'}"
        text = f"{number} at the stage ordering, the oldest for {hours(ordering.oldest)}"
        hint = "They wait for the ERP; nothing is lost. When it responds again: closedwon orders retry --all"
        yield Trouble(Harm.WAITING, _ORDERING, text, hint)


def without_idle_reports(troubles: Sequence[Trouble]) -> list[Trouble]:
    """Leave out the orders at the ERP where no ERP has a problem: they are about to be done."""
    an_erp_fails = any(one.subject.startswith("erp ") and one.harm is not Harm.RISK for one in troubles)
    return [one for one in troubles if one.subject != _ORDERING or an_erp_fails]
