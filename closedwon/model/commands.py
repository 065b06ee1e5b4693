"""The commands that operators send to an order, and the answers."""

from __future__ import annotations

from typing import Any, Final, Literal, Self

from closedwon.model.base import Frozen

_MAXIMUM_TEXT: Final = 500
"""Characters kept of what a person writes, and of an order's number."""


class Command(Frozen):
    """What an operator sends along with `retry`, `cancel`, `resolve` or `skip`."""

    by: str | None = None
    """Who: `user@host`, as our command line fills it in."""
    reason: str | None = None
    number: str | None = None
    """`resolve`: what people call the order that exists already."""
    accept_differences: bool = False
    """`resolve`: use that order although it differs from the record, or cannot be compared."""

    @classmethod
    def read(cls, given: Any, *, text: Literal["reason", "number"] = "reason") -> Self:
        """Read any input: nothing, a text (which becomes the field `text`), or an object with our fields.

        Never raises: a signal that cannot be decoded is dropped although its sender sees success.
        """
        fields = given if isinstance(given, dict) else {text: given}
        texts = {name: _as_text(fields.get(name)) for name in ("by", "reason", "number")}
        return cls(**texts, accept_differences=fields.get("accept_differences") is True)


def _as_text(value: Any) -> str | None:
    """One line of text, or None if there is no text; a number becomes its digits."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    return " ".join(str(value).split())[:_MAXIMUM_TEXT] or None


class CommandAnswer(Frozen):
    """Whether a command is accepted, and what it does or why not, in a sentence."""

    accepted: bool
    message: str


class Decision(Command):
    """An operator's decision about an order; the newest one counts."""

    to: Literal["cancel", "resolve", "skip"]
