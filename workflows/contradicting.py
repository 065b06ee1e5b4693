"""Two notifications of the same second that contradict each other: a SystemModstamp does not say which is newer.

Only for routes whose orders are made of notifications: elsewhere the record itself shows its newest state. What the
ERP's order was made of may contradict a notification, too, after the workflow of the first one has ended; that is for
`closedwon.erp.base` to see.
"""

from __future__ import annotations

from closedwon.model.messages import Message
from closedwon.model.snapshot import NotWanted, RecordSnapshot, Wanted
from workflows.parts import Parts
from workflows.problems import contradiction
from workflows.stops import ProblemError


async def check_rival(parts: Parts, rival: Message, newest: RecordSnapshot) -> None:
    """Go on only if it does not matter which of both is the newer one. Raises `ProblemError`.

    A record that is made and won within a second is ordered: that much is safe, since what the ERP has is compared
    and only what is missing is made. If the notification of the win arrives first, the deal cannot be distinguished
    from one that was won and then reopened.
    """
    other = await parts.steps.load(rival)
    match newest, other:
        case Wanted(), NotWanted(is_certain=True):
            return
        case NotWanted(), NotWanted() if newest.is_certain == other.is_certain:
            return
        case Wanted(), Wanted() if (newest.erp, newest.order.content) == (other.erp, other.order.content):
            return
    raise ProblemError(contradiction(newest))
