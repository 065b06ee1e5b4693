"""What happened to one order, in Markdown list entries: what arrived, what was read, what the ERP and Salesforce said.

Pure text, no decisions. `workflows.presenter` puts it on the order's page.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Final

from closedwon.model.commands import Command
from closedwon.model.erp import ErpOrder
from closedwon.model.messages import Message
from closedwon.model.snapshot import Declined, Deleted, Hidden, NotWanted, Wanted
from closedwon.money import money
from closedwon.safe_text import markdown, markdown_code

if TYPE_CHECKING:
    from closedwon.model.records import WriteBack

_LONGEST: Final = 40
"""Entries kept; the first ones matter as much as the last, so the middle goes."""


class Timeline:
    """The entries, the oldest and the newest."""

    def __init__(self) -> None:
        """Begin empty: a new run of the same workflow begins a new timeline."""
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=_LONGEST // 2)
        self._left_out = 0

    def add(self, at: datetime, text: str, reason: str | None = None) -> None:
        """Add an entry."""
        entry = f"- `{at:%Y-%m-%d %H:%M:%S}` {text}" + (f": {markdown(reason)}" if reason else "")
        if len(self._first) < _LONGEST // 2:
            self._first.append(entry)
            return
        self._left_out += len(self._last) == self._last.maxlen
        self._last.append(entry)

    def lines(self) -> list[str]:
        """All entries that are kept."""
        middle = [f"- … {self._left_out} more …"] if self._left_out else []
        return [*self._first, *middle, *self._last]

    def notified(self, at: datetime, message: Message) -> None:
        """A notification arrived."""
        what = "deletion" if message.deleted else "notification"
        by = f" for route `{message.route.route}`" if message.route is not None else ""
        self.add(at, f"{what} by {message.channel}{by} ({markdown_code(message.id)})")

    def commanded(self, at: datetime, name: str, command: Command, refusal: str | None) -> None:
        """A command arrived."""
        what = markdown_code(f"{name} {command.number}" if command.number else name)
        sender = f" by {markdown(command.by)}" if command.by else ""
        self.add(at, f"{what} was sent{sender}", command.reason)
        if refusal:
            self.add(at, f"it was **not accepted**: {markdown(refusal)}")

    def read(self, at: datetime, snapshot: Wanted | Declined | NotWanted | Hidden | Deleted) -> None:
        """The record was read."""
        match snapshot:
            case Wanted(order=order, erp=erp):
                lines = f"{len(order.lines)} line{'s' if len(order.lines) > 1 else ''}"
                total = money(order.amount, order.currency)
                self.add(at, f"the record was read: {lines}, **{total}**, for ERP `{erp}`")
            case Declined(note=note):
                self.add(at, "the record was read: no order is wanted", note)
            case NotWanted(is_certain=True):
                self.add(at, "the record was read: it does not qualify")
            case NotWanted():
                self.add(at, "the record was read: `qualify` yields no value, so it is not known whether it qualifies")
            case Hidden():
                self.add(at, "the record cannot be read: it is not visible to the integration user")
            case Deleted():
                self.add(at, "the record was deleted")

    def placed(self, at: datetime, placed: ErpOrder, erp: str | None) -> None:
        """The ERP has the order."""
        self.add(at, f"ERP `{erp}` has order **{_number(placed)}** ({placed.status})")

    def kept(self, at: datetime, placed: ErpOrder) -> None:
        """The ERP's order was made of a newer state of the record than the one that was read."""
        self.add(
            at, f"the notification is older than what order **{_number(placed)}** was made of: the order is unchanged"
        )

    def written(self, at: datetime, request: WriteBack) -> None:
        """Salesforce was written to."""
        status = request.status or (request.order.status if request.order else "")
        number = f"order **{_number(request.order)}**, " if request.order else ""
        self.add(at, f"written to Salesforce: {number}{markdown(status)}")

    def cancelled(self, at: datetime, placed: ErpOrder | None) -> None:
        """The order is cancelled."""
        text = f"order {_number(placed)} was cancelled in the ERP" if placed else "the ERP has no order"
        self.add(at, text)


def _number(placed: ErpOrder) -> str:
    return markdown(placed.number or placed.id)
