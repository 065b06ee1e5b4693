"""What Salesforce has reported about one record: which notification counts, whether there is news, is it deleted.

Notifications arrive twice, late and in any order, over several channels. Three facts decide whether one matters:

- Its **modification time** (`modified_at`): the record's SystemModstamp, or the event's own time. A notification that
  describes an older state than the newest one known never replaces it. One without a time cannot be placed; it is
  taken in the order of arrival.
- Its **id**: a duplicate adds nothing. Salesforce sends an outbound message that was not acknowledged again under the
  same id, but with the fields as they are by then: one with a newer time is not a duplicate.
- The **decision time** (`decided_at`): after an operator has decided, or after the order was cancelled because the
  record no longer qualified, a notification about a moment before that is late, and does not cause another action.

A SystemModstamp is exact to the second only, and notifications arrive in any order. Two that say different things of
one second contradict each other (`rival`): the last to arrive counts as the newest, but the workflow changes and
cancels nothing because of it.

These facts live as long as the workflow. Beyond that the ERP keeps the newest modification time beside the order.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydantic import AwareDatetime, Field

from closedwon.model.base import Model
from closedwon.model.messages import Message

_KNOWN_IDS: Final = 256


class Notifications(Model):
    """All notifications about one record, reduced to what still matters. Part of `OrderState`; mutable."""

    newest: Message | None = None
    """The newest one with a payload, or the tombstone of a deleted record."""
    rival: Message | None = None
    """One with another payload and the modification time of `newest`: nothing says which of both is newer."""
    deleted: bool = False
    since: AwareDatetime | None = None
    """When the first one's subject happened, as far as it says so; for the metric of the whole way."""
    stamped_at: AwareDatetime | None = None
    """The newest SystemModstamp that a notification has named; the record is read again until it shows it."""
    news: bool = False
    """Something arrived since the record was last read."""
    decided_at: AwareDatetime | None = None
    """What happened up to then is no longer news."""
    known_ids: dict[str, AwareDatetime | None] = Field(default_factory=dict)
    """Ids of the newest ones with their modification times, in the order of arrival. Carried into a new run: a
    duplicate whose payload has no time would replace a newer one there."""

    def take(self, message: Message) -> None:
        """Take one notification in."""
        is_known = self._is_known(message)
        is_late = self._is_late(message, is_known=is_known)
        if not is_known:
            self.known_ids[message.id] = message.modified_at
            self.known_ids = dict(list(self.known_ids.items())[-_KNOWN_IDS:])
        self.since = self.since or min(message.received_at, message.modified_at or message.received_at)
        self.stamped_at = max(filter(None, (self.stamped_at, message.stamped_at)), default=None)
        if is_late:
            return
        self.news = True
        if message.deleted and not (is_known or _is_older(message, self.newest)):
            self.deleted, self.newest, self.rival = True, message, None
        elif not (message.deleted or is_known) and message.payload and self._is_newest(message):
            if self._is_same_moment(message):
                if not self._is_said(message):
                    self.newest, self.rival = message, self.newest
            else:
                self.deleted, self.newest, self.rival = False, message, None

    def is_readable(self, tombstone: Message) -> None:
        """The record was read after `tombstone` arrived: it was taken out of the recycle bin."""
        if self.deleted and self.newest is tombstone:
            self.deleted, self.newest = False, None

    def mark_done(self, now: datetime) -> None:
        """What the newest notification asked for is done: what happened before it is no longer news."""
        newest = self.newest
        self.decided_at = now if newest is None else newest.modified_at or newest.received_at

    def _is_known(self, message: Message) -> bool:
        """Whether it is a duplicate: the same id with nothing newer. What a tombstone says never changes."""
        if message.id not in self.known_ids:
            return False
        before = self.known_ids[message.id]
        return message.deleted or message.modified_at is None or (before is not None and message.modified_at <= before)

    def _is_late(self, message: Message, *, is_known: bool) -> bool:
        """Whether it is about a moment before the decision, or a duplicate after it."""
        if self.decided_at is None:
            return False
        happened = message.modified_at or message.received_at
        is_over = self.deleted and (not message.payload or not self._is_newest(message))
        if is_over or is_known or message.deleted:
            return is_over or is_known
        if happened == self.decided_at and self._is_same_moment(message):
            return not message.payload or self._is_said(message)  # `mark_done` decided: the other one may be newer
        return happened <= self.decided_at

    def _is_same_moment(self, message: Message) -> bool:
        """Whether it has the modification time of the newest one, which has a payload."""
        newest = self.newest
        return (
            newest is not None
            and newest.payload is not None
            and message.modified_at is not None
            and message.modified_at == newest.modified_at
        )

    def _is_said(self, message: Message) -> bool:
        """Whether one of the same moment has said that already."""
        return any(one is not None and message.payload == one.payload for one in (self.newest, self.rival))

    def _is_newest(self, message: Message) -> bool:
        """Whether nothing newer is known. A deletion counts unless this one certainly describes a later state."""
        newest = self.newest
        if newest is None or not self.deleted:
            return not _is_older(message, newest)
        return message.modified_at is not None and message.modified_at > (newest.modified_at or newest.received_at)


def _is_older(message: Message, than: Message | None) -> bool:
    """Whether it describes an older state of the record than `than`; without both times, no."""
    if than is None or message.modified_at is None or than.modified_at is None:
        return False
    return message.modified_at < than.modified_at
