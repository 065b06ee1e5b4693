"""What Salesforce has reported about one record: which notification counts, whether there is news, is it deleted.

Notifications arrive twice, late and in any order, over several channels. Three facts decide whether one matters:

- Its **modification time** (`modified_at`): the record's SystemModstamp, or the event's own time. A notification that
  describes an older state than the newest one known never replaces it. One without a time cannot be placed; it is
  taken in the order of arrival.
- Its **id**: a duplicate adds nothing.
- The **decision time** (`decided_at`): after an operator has decided, or after the order was cancelled because the
  record no longer qualified, a notification about a moment before that is late, and no reason to act again.

These facts live as long as the workflow. Beyond that the ERP keeps the newest modification time beside the order.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from closedwon.model import Message


class Notifications(BaseModel):
    """All notifications about one record, reduced to what still matters. Part of `OrderState`; mutable."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    newest: Message | None = None
    """The newest one with a payload, or the tombstone of a deleted record."""
    deleted: bool = False
    since: AwareDatetime | None = None
    """When the first one's subject happened, as far as it says so; for the metric of the whole way."""
    news: bool = False
    """Something arrived since the record was last read."""
    decided_at: AwareDatetime | None = None
    """What happened up to then is no longer news."""
    heard: set[str] = Field(default_factory=set, exclude=True)
    """Ids. Not carried into a new run: a duplicate costs one more reading there, nothing else."""

    def take(self, message: Message) -> None:
        """Take one notification in."""
        is_known = message.id in self.heard
        is_late = self._is_late(message, is_known=is_known)
        self.heard.add(message.id)
        self.since = self.since or min(message.received_at, message.modified_at or message.received_at)
        if is_late:
            return
        self.news = True
        if message.deleted and not (is_known or _is_older(message, self.newest)):
            self.deleted, self.newest = True, message
        elif not (message.deleted or is_known) and message.payload is not None and self._is_newest(message):
            self.deleted, self.newest = False, message

    def is_readable(self, tombstone: Message) -> None:
        """The record was read after `tombstone` arrived: it was taken out of the recycle bin."""
        if self.deleted and self.newest is tombstone:
            self.deleted, self.newest = False, None

    def settle(self, now: datetime) -> None:
        """What the newest notification asked for is done: what happened before it is no longer news."""
        newest = self.newest
        self.decided_at = now if newest is None else newest.modified_at or newest.received_at

    def _is_late(self, message: Message, *, is_known: bool) -> bool:
        """Whether it is about a moment before the decision, or a duplicate after it."""
        if self.decided_at is None:
            return False
        happened = message.modified_at or message.received_at
        is_over = self.deleted and (message.payload is None or not self._is_newest(message))
        return is_over or is_known or (happened <= self.decided_at and not message.deleted)

    def _is_newest(self, message: Message) -> bool:
        """Whether nothing newer is known. A deletion stands unless this one certainly describes a later state."""
        newest = self.newest
        if newest is None or not self.deleted:
            return not _is_older(message, newest)
        return message.modified_at is not None and message.modified_at > (newest.modified_at or newest.received_at)


def _is_older(message: Message, than: Message | None) -> bool:
    """Whether it describes an older state of the record than `than`; without both times, no."""
    if than is None or message.modified_at is None or than.modified_at is None:
        return False
    return message.modified_at < than.modified_at
