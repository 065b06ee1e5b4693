"""What Salesforce has told of a record: is there news, which payload counts, is the record deleted.

Messages come doubled, late and in any order; which of them matter is decided here, and only here.
"""

from __future__ import annotations

from datetime import datetime

from closedwon.model import Message


class Word:
    """All messages about one record, boiled down."""

    def __init__(self, carried: Message | None) -> None:
        """Begin with what the run before has `carried` over."""
        self.payload = carried
        """The newest message with a payload, or the tombstone."""
        self.deleted = carried is not None and carried.deleted
        self.since: datetime | None = None
        """When that happened of which the first word tells, as far as it says so."""
        self.news = False
        """Something came since the record was last looked at."""
        self.decided_at: datetime | None = None
        """When somebody decided about the order; what happened before that is no news any more."""
        self._heard: set[str] = set()

    def take(self, message: Message) -> None:
        """Take a message in."""
        is_late, is_known = self._is_late(message), message.id in self._heard
        self._heard.add(message.id)
        self.since = self.since or min(message.received_at, message.modified_at or message.received_at)
        if is_late:
            return
        self.news = True
        if message.deleted and not (is_known or _older(message, self.payload)):
            self.deleted, self.payload = True, message
        elif not message.deleted and message.payload is not None and self._is_newest(message):
            self.deleted, self.payload = False, message

    def is_there(self, tombstone: Message) -> None:
        """The record was read after `tombstone` came, and found: it lies in the recycle bin no more."""
        if self.deleted and self.payload is tombstone:
            self.deleted, self.payload = False, None

    def give_up(self, at: datetime) -> None:
        """The order is cancelled because of what was told last: what happened before that is no news any more."""
        told = self.payload
        self.decided_at = at if told is None else told.modified_at or told.received_at

    def _is_late(self, message: Message) -> bool:
        """Whether the message tells of something from before the decision, or was heard already."""
        if self.decided_at is None:
            return False
        happened = message.modified_at or message.received_at
        is_over = self.deleted and (message.payload is None or not self._is_newest(message))
        return is_over or message.id in self._heard or (happened <= self.decided_at and not message.deleted)

    def _is_newest(self, message: Message) -> bool:
        """Whether nothing newer is known; a deletion stands unless this is certain to tell of what came after."""
        told = self.payload
        if told is None or not self.deleted:
            return not _older(message, told)
        return message.modified_at is not None and message.modified_at > (told.modified_at or told.received_at)


def _older(message: Message, than: Message | None) -> bool:
    """Whether the message tells of an older state of the record than the one that is known."""
    if than is None or message.modified_at is None or than.modified_at is None:
        return False
    return message.modified_at < than.modified_at
