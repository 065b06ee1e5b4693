"""What `closedwon doctor` says about orders that need attention: one line for each cause, not for each order.

Orders have the same cause if the same ERP, or the same org, refuses them for the same reason in the same words, ids and
numbers aside (`Problem.cause`), so that one correction puts all of them right: alerts count causes so, too. Temporal's
list knows only the reason; the rest is asked of the orders themselves, of some for each reason, which needs a worker.
Without one, each reason has one line.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.service import RPCError

from closedwon import names
from closedwon.encryption.codec import CodecError
from closedwon.errors import AttentionReason
from closedwon.ids import OrgId
from closedwon.model.order_state import Problem
from closedwon.operations.troubles import Harm, Trouble
from closedwon.settings import Org
from closedwon.temporal import visibility
from workflows.order_table import KEPT_BY_RETRY

_SAMPLE: Final = 100
"""Orders of one reason that are asked."""
_AT_A_TIME: Final = 20
_PATIENCE: Final = timedelta(seconds=3)
"""For the answer of one order."""
_MOST: Final = 5
"""Causes of one reason that have a line each."""
_ONE_BY_ONE: Final = (*KEPT_BY_RETRY, AttentionReason.UNKNOWN_ORDER)
"""Reasons for which an operator must decide about each order separately."""


class Asked(NamedTuple):
    """What one order needs attention for."""

    org: OrgId
    problem: Problem

    @property
    def place(self) -> str:
        """Where the cause is: an ERP, or else the org."""
        return self.problem.erp or self.org


class Cause(NamedTuple):
    """Some orders that need attention for one cause."""

    number: int
    example: Asked


async def needing_attention(client: Client, reasons: Counter[str], orgs: Sequence[Org] = ()) -> list[Trouble]:
    """One line for each cause of the counted `reasons`, the most frequent first; `orgs` give their names.

    Raises `RPCError` if Temporal cannot list the orders.
    """
    found: list[Trouble] = []
    for value, number in reasons.most_common():
        try:
            reason = AttentionReason(value)
        except ValueError:  # of a later version
            found.append(_of_reason(value, AttentionReason.UNEXPECTED_ERROR, number))
            continue
        asked = [] if reason.is_of_one_record else await _ask(client, reason)
        found += _lines(reason, number, by_cause(asked), {org.id: org.name for org in orgs})
    return found


def by_cause(asked: Sequence[Asked]) -> list[Cause]:
    """Group what orders need attention for by cause and place, the most frequent first."""
    groups: Mapping[tuple[str, str], list[Asked]] = defaultdict(list)
    for one in asked:
        groups[one.place, one.problem.cause or one.problem.message].append(one)
    return sorted((Cause(len(group), group[0]) for group in groups.values()), key=lambda cause: -cause.number)


def _lines(
    reason: AttentionReason, number: int, causes: Sequence[Cause], orgs: Mapping[OrgId, str]
) -> Iterator[Trouble]:
    """Those that did not answer, or are not among the first causes, share a line. Several orgs are named."""
    shown = causes[:_MOST]
    for cause in shown:
        org, problem = cause.example
        of_org = f" in org {orgs.get(org, org)}" if problem.erp is None and len(orgs) > 1 else ""
        text = f"{cause.number} need attention{of_org}. {reason.sentence} {problem.message}"
        yield Trouble(Harm.WAITING, reason, text, f"{problem.hint} {_then(reason)}")
    rest = number - sum(cause.number for cause in shown)
    if rest > 0:
        yield _of_reason(reason, reason, rest, more="more " if shown else "")


def _of_reason(value: str, reason: AttentionReason, number: int, *, more: str = "") -> Trouble:
    hint = f"{reason.hint} {_then(reason, value)}"
    return Trouble(Harm.WAITING, value, f"{number} {more}need attention. {reason.sentence}", hint)


def _then(reason: AttentionReason, value: str | None = None) -> str:
    then = "List them: closedwon orders list" if reason in _ONE_BY_ONE else "Then: closedwon orders retry"
    return f"{then} --reason {value or reason}"


async def _ask(client: Client, reason: AttentionReason) -> list[Asked]:
    query = visibility.all_of(
        visibility.at_stage(names.OrderStage.ATTENTION),
        visibility.of_type(names.ORDER_WORKFLOW),
        visibility.equals(names.ATTENTION_REASON, reason),
    )
    slots = asyncio.Semaphore(_AT_A_TIME)
    is_answered = True

    async def ask(workflow_id: str) -> Asked | None:
        nonlocal is_answered
        async with slots:
            if not is_answered:
                return None  # no worker: do not wait for each of them
            handle = client.get_workflow_handle(workflow_id)
            try:
                problem: Problem | None = await handle.query(
                    names.QUERY_PROBLEM, result_type=Problem, rpc_timeout=_PATIENCE
                )
            except (WorkflowQueryFailedError, CodecError):
                return None
            except RPCError:
                is_answered = False
                return None
            return None if problem is None else Asked(names.parse_order_workflow_id(workflow_id).org, problem)

    listed = [one.id async for one in client.list_workflows(query, limit=_SAMPLE)]
    answers = await asyncio.gather(*map(ask, listed))
    return [one for one in answers if one is not None and one.problem.reason is reason]
