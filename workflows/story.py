"""The order's story in Markdown, as Temporal's UI shows it under the current details. Pure text, no decisions.

Pipe tables do not render there; bold, code and bullet lists do.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Final

from closedwon.model import Command, Decision, ErpOrder, ErpStatus, Message, Order
from closedwon.names import OrderStage

if TYPE_CHECKING:
    from activities.failures import Problem
    from activities.salesforce import WriteBack
    from workflows.looks import Look

_LONGEST: Final = 40
"""Entries kept; the first ones matter as much as the last, so the middle goes."""

_STANDS: Final = {
    OrderStage.LOADING: "Reading the record from Salesforce",
    OrderStage.ORDERING: "Handing the order to the ERP",
    OrderStage.WRITING_BACK: "The ERP has the order; telling Salesforce its number",
    OrderStage.FOLLOWING: "The order exists, and Salesforce knows its number; its way in the ERP is watched",
    OrderStage.CANCELLING: "Giving the order up",
    OrderStage.ATTENTION: "**Needs attention**",
    OrderStage.COMPLETED: "Done: the order exists, and Salesforce knows its number",
    OrderStage.CANCELLED: "Cancelled",
    OrderStage.NOT_NEEDED: "Not needed",
}
_NEXT: Final = {
    OrderStage.LOADING: "Salesforce answers, or is asked again until it does; then the order goes to the ERP.",
    OrderStage.ORDERING: "the ERP answers, or is asked again until it does; then Salesforce is told the number. "
    "While the ERP is paused no attempt is made; then a workflow `erp-limit:…` is open and says why.",
    OrderStage.WRITING_BACK: "Salesforce takes it, or is told again until it does.",
    OrderStage.FOLLOWING: "the ERP is asked again, ever more rarely, until the order is done or cancelled there; each "
    "change is written to Salesforce.",
    OrderStage.CANCELLING: "the ERP is asked what it has, until it answers; then Salesforce is told.",
    OrderStage.ATTENTION: "nothing happens until somebody sends a command{or_word}.",
}
_RESOLVING: Final = "Taking order {number}, made by hand, for the record's order"
_SKIPPING: Final = "Closing it as not needed, unless the ERP has an order"


class Story:
    """What came when, what was read, what the ERP said, what was written back."""

    def __init__(self, record: str) -> None:
        """Begin the story of one record."""
        self._record = record
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=_LONGEST // 2)
        self._left_out = 0

    def tell(self, at: datetime, text: str, reason: str | None = None) -> None:
        """Add an entry."""
        entry = f"- `{at:%Y-%m-%d %H:%M:%S}` {text}" + (f": {reason}" if reason else "")
        if len(self._first) < _LONGEST // 2:
            self._first.append(entry)
            return
        self._left_out += len(self._last) == self._last.maxlen
        self._last.append(entry)

    def heard(self, at: datetime, message: Message) -> None:
        """Word arrived."""
        what = "word of its deletion" if message.deleted else "word"
        self.tell(at, f"{what} came by {message.channel} (`{message.id}`)")

    def asked(self, at: datetime, word: str, command: Command, refusal: str | None) -> None:
        """A command came."""
        what = f"`{word}{f' {command.number}' if command.number else ''}`"
        sender = f" by {command.by}" if command.by else ""
        self.tell(at, f"{what} was sent{sender}", command.reason)
        if refusal:
            self.tell(at, f"that was **not accepted**: {refusal}")

    def looked(self, at: datetime, look: Look) -> None:
        """The record was read."""
        if look.order is None:
            self.tell(at, "the record was read: it does not ask for an order", look.note)
        else:
            lines = f"{len(look.order.lines)} line{'s' if len(look.order.lines) > 1 else ''}"
            self.tell(at, f"the record was read: {lines}, **{_money(look.order)}**, for ERP `{look.erp}`")

    def placed(self, at: datetime, placed: ErpOrder, erp: str | None) -> None:
        """The ERP has the order."""
        self.tell(at, f"ERP `{erp}` has it as order **{placed.number or placed.id}** ({placed.status})")

    def followed(self, at: datetime, placed: ErpOrder) -> None:
        """The ERP has news of the order."""
        self.tell(at, f"the ERP has order **{placed.number or placed.id}** as {placed.status}")

    def written(self, at: datetime, request: WriteBack) -> None:
        """Salesforce was told."""
        status = request.status or (request.order.status if request.order else "")
        number = f"order **{request.order.number or request.order.id}**, " if request.order else ""
        self.tell(at, f"Salesforce was told: {number}{status}")

    def cancelled(self, at: datetime, placed: ErpOrder | None) -> None:
        """The order is off."""
        self.tell(at, f"order {placed.number or placed.id} was cancelled in the ERP" if placed else "no order was made")

    def markdown(
        self,
        stage: OrderStage,
        *,
        order: Order | None,
        placed: ErpOrder | None,
        deciding: Decision | None,
        problem: Problem | None,
    ) -> str:
        """The page: where it stands, what it is about, what comes next, what can be done, what happened."""
        head = [f"### {_headline(stage, deciding)}", ""]
        if problem is not None:
            head.append(f"- **Why** (`{problem.reason}`): {problem.reason.sentence} {problem.message.rstrip('.')}.")
            head.append(f"- **What to do**: {problem.cure}")
        if order is not None:
            head.append(f"- **Deal** {order.name} ({self._record}), {order.customer.name}, **{_money(order)}**")
        if placed is not None:
            number = placed.number or placed.id
            link = f"[{number}]({placed.url})" if placed.url else f"**{number}**"
            head.append(f"- **Order** {link}, {placed.status}")
        if stage in _NEXT:
            or_word = "" if deciding else ", or the record is changed in Salesforce"
            head.append(f"- **Next**: {_NEXT[stage].format(or_word=or_word)}")
            head.append(f"- **You can send** {_possible(placed)}")
        middle = [f"- … {self._left_out} more …"] if self._left_out else []
        return "\n".join([*head, "", "**What happened** (UTC)", "", *self._first, *middle, *self._last])


def _headline(stage: OrderStage, deciding: Decision | None) -> str:
    if deciding is not None and stage is OrderStage.ORDERING:
        return _RESOLVING.format(number=deciding.number)
    if deciding is not None and deciding.to == "skip" and stage is OrderStage.CANCELLING:
        return _SKIPPING
    return _STANDS[stage]


def _possible(placed: ErpOrder | None) -> str:
    """The commands that are not refused now."""
    if placed is not None and placed.status is not ErpStatus.CANCELLED:
        return f"`retry` (at once), `cancel` (cancels order {placed.number or placed.id} in the ERP)"
    return (
        "`retry` (at once), `cancel` (stops it, and cancels what the ERP may have), `resolve` with a number (the order "
        "exists already, made by hand), `skip` (none is needed)"
    )


def _money(order: Order) -> str:
    return f"{order.amount:,.2f} {order.currency}"
