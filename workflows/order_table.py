"""What each command does in each situation of an order: one table, from which everything else is read.

An order workflow is a state machine. Its stages follow one another as `TRANSITIONS` lists them. At any moment an
operator may send one of four commands: `retry`, `cancel`, `resolve`, `skip`. What a command does depends on the stage,
on the reason for which the order needs attention, on the decision that is being carried out, and on whether the ERP is
known to have an order. `RULES` says so, first match first. The answers to commands, the refusals, the hints on the
order's page, the commands that a mass `retry` leaves out, and the diagram in the documentation are derived from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from closedwon import names
from closedwon.errors import AttentionReason
from closedwon.model.order_state import Situation
from closedwon.names import OrderStage

COMMANDS: Final = (names.SIGNAL_RETRY, names.SIGNAL_CANCEL, names.SIGNAL_RESOLVE, names.SIGNAL_SKIP)


class Effect(StrEnum):
    """What a command does."""

    TRY_NOW = "try-now"
    REREAD = "re-read"
    KEEP_ORDER = "keep-order"
    DROP_DECISION = "drop-decision"
    REPEAT_DECISION = "repeat-decision"
    NOTHING = "nothing"
    CANCEL = "cancel"
    RESOLVE = "resolve"
    RESOLVE_SAME = "resolve-same"
    """Accepted only for the number of the order that the ERP has."""
    SKIP = "skip"
    END_UNWRITTEN = "end-unwritten"
    REFUSE_SKIP = "refuse-skip"

    @property
    def accepted(self) -> bool:
        """Whether the command is accepted."""
        return self is not Effect.REFUSE_SKIP

    @property
    def answer(self) -> str:
        """The sentence that the sender receives. `{number}` is the command's, `{order}` the ERP's order."""
        return _ANSWERS[self]

    @property
    def hint(self) -> str:
        """What the command would do, in a few words, for the order's page."""
        return _HINTS[self]


_ANSWERS: Final = {
    Effect.TRY_NOW: "The next attempt is made now; one that is under way is waited for.",
    Effect.REREAD: "The record is read again now; an attempt that is under way is waited for.",
    Effect.KEEP_ORDER: "The order is left as it is.",
    Effect.DROP_DECISION: "The decision is dropped, and the ERP's order is kept.",
    Effect.REPEAT_DECISION: "The decision is tried again now.",
    Effect.NOTHING: "Nothing waits for another attempt.",
    Effect.CANCEL: "The order is stopped. If the ERP has it, it is cancelled there, and the status is written to "
    "Salesforce.",
    Effect.RESOLVE: "The ERP is asked for order {number}, which is compared with the record. If both agree, its number "
    "is written to Salesforce; otherwise nothing is changed and the difference is shown.",
    Effect.RESOLVE_SAME: "The ERP has order {order} of this record. To use another one, cancel that order in the ERP "
    "first, or send `cancel`.",
    Effect.SKIP: "The order is closed as not needed, and the status is written to Salesforce; unless the ERP has an "
    "order of this record, which then needs attention.",
    Effect.END_UNWRITTEN: "The order is closed without writing the result to Salesforce, which refuses it.",
    Effect.REFUSE_SKIP: "The ERP has order {order} of this record. To cancel it, send `cancel`.",
}
_HINTS: Final = {
    Effect.TRY_NOW: "makes the next attempt now",
    Effect.REREAD: "reads the record again now",
    Effect.KEEP_ORDER: "keeps the order as it is",
    Effect.DROP_DECISION: "drops the decision and keeps the ERP's order",
    Effect.REPEAT_DECISION: "tries the decision again",
    Effect.NOTHING: "",
    Effect.CANCEL: "stops it, and cancels the order that the ERP has",
    Effect.RESOLVE: "with a number: uses an order that exists already, after comparing it",
    Effect.RESOLVE_SAME: "",
    Effect.SKIP: "closes it: no order is needed",
    Effect.END_UNWRITTEN: "closes it without writing to Salesforce",
    Effect.REFUSE_SKIP: "",
}

SALESFORCE_REFUSES: Final = frozenset({
    AttentionReason.SALESFORCE_REJECTED, AttentionReason.SALESFORCE_VALIDATION, AttentionReason.SALESFORCE_AUTH_FAILED,
    AttentionReason.RECORD_NOT_FOUND, AttentionReason.RECORD_DELETED,
})  # fmt: skip
"""Salesforce does not store what Closedwon writes: a problem cannot be reported to the record either."""
_UNQUALIFIED: Final = frozenset({
    AttentionReason.TOO_LATE_TO_CANCEL, AttentionReason.NO_LONGER_QUALIFIES, AttentionReason.RECORD_DELETED,
})  # fmt: skip
"""The order of a record that no longer qualifies: an operator may keep it."""
_KEPT_IN_ERP: Final = frozenset({AttentionReason.TOO_LATE_TO_CANCEL, AttentionReason.ORDER_EXISTS})
"""A decision cannot be carried out because the ERP has an order: `retry` goes on with that order."""
_ATTENTION: Final = frozenset({OrderStage.ATTENTION})
_ENDED: Final = frozenset({OrderStage.COMPLETED, OrderStage.CANCELLED, OrderStage.NOT_NEEDED})
_WITHOUT_DECISION: Final = frozenset({None})
_DECISIONS: Final = frozenset({names.SIGNAL_CANCEL, names.SIGNAL_RESOLVE, names.SIGNAL_SKIP})


class Rule(NamedTuple):
    """One line of the table; None means any."""

    command: str
    effect: Effect
    stages: frozenset[OrderStage] | None = None
    reasons: frozenset[AttentionReason] | None = None
    deciding: frozenset[str | None] | None = None
    has_order: bool | None = None

    def applies(self, command: str, situation: Situation) -> bool:
        """Whether this line is about the command and the situation."""
        return (
            command == self.command
            and (self.stages is None or situation.stage in self.stages)
            and (self.reasons is None or situation.reason in self.reasons)
            and (self.deciding is None or situation.deciding in self.deciding)
            and (self.has_order is None or situation.has_order is self.has_order)
        )


_RETRY, _CANCEL, _RESOLVE, _SKIP = COMMANDS
RULES: Final = (
    # `retry` of an order that needs attention: with a decision that stopped there, and without.
    Rule(_RETRY, Effect.DROP_DECISION, _ATTENTION, _KEPT_IN_ERP, _DECISIONS),
    Rule(_RETRY, Effect.REPEAT_DECISION, _ATTENTION, None, _DECISIONS),
    Rule(_RETRY, Effect.KEEP_ORDER, _ATTENTION, _UNQUALIFIED, _WITHOUT_DECISION),
    Rule(_RETRY, Effect.REREAD, _ATTENTION),
    # `retry` elsewhere. An order that waits for its ERP is read again: the record may pick another ERP by now.
    Rule(_RETRY, Effect.REREAD, frozenset({OrderStage.ORDERING}), None, _WITHOUT_DECISION),
    Rule(_RETRY, Effect.NOTHING, _ENDED),
    Rule(_RETRY, Effect.TRY_NOW),
    # The same decision again, where Salesforce refuses its result. The number of an order that `resolve` named is left
    # unwritten only if the record is gone.
    Rule(_CANCEL, Effect.END_UNWRITTEN, _ATTENTION, SALESFORCE_REFUSES, frozenset({_CANCEL})),
    Rule(_SKIP, Effect.END_UNWRITTEN, _ATTENTION, SALESFORCE_REFUSES, frozenset({_SKIP})),
    Rule(
        _RESOLVE,
        Effect.END_UNWRITTEN,
        _ATTENTION,
        frozenset({AttentionReason.RECORD_NOT_FOUND}),
        frozenset({_RESOLVE}),
    ),
    Rule(_CANCEL, Effect.CANCEL),
    # In attention the ERP is asked first: the order may have been cancelled there by the sender of `resolve`.
    Rule(_RESOLVE, Effect.RESOLVE, _ATTENTION),
    Rule(_RESOLVE, Effect.RESOLVE_SAME, has_order=True),
    Rule(_RESOLVE, Effect.RESOLVE),
    Rule(_SKIP, Effect.REFUSE_SKIP, has_order=True),
    Rule(_SKIP, Effect.SKIP),
)


def effect_of(command: str, situation: Situation) -> Effect:
    """What a command does in a situation."""
    return next(rule.effect for rule in RULES if rule.applies(command, situation))


def offered(situation: Situation) -> Iterator[tuple[str, Effect]]:
    """The commands that are useful in a situation, with what each would do."""
    for command in COMMANDS:
        effect = effect_of(command, situation)
        if effect.hint:
            yield command, effect


KEPT_BY_RETRY: Final = tuple(
    reason
    for reason in AttentionReason
    if any(
        effect_of(_RETRY, Situation(OrderStage.ATTENTION, reason, deciding, has_order=True))
        in {Effect.KEEP_ORDER, Effect.DROP_DECISION}
        for deciding in (None, *sorted(_DECISIONS))
    )
)
"""Where `retry` keeps an order that was to be cancelled: a mass `retry` leaves these out unless they are named."""


TRANSITIONS: Final = {
    OrderStage.LOADING: frozenset({
        OrderStage.ORDERING, OrderStage.WRITING_BACK, OrderStage.CANCELLING, OrderStage.ATTENTION,
        OrderStage.COMPLETED, OrderStage.CANCELLED, OrderStage.NOT_NEEDED, OrderStage.CHECKING, OrderStage.FOLLOWING,
    }),
    OrderStage.ORDERING: frozenset({
        OrderStage.LOADING, OrderStage.WRITING_BACK, OrderStage.CANCELLING, OrderStage.ATTENTION,
    }),
    OrderStage.WRITING_BACK: frozenset({
        OrderStage.LOADING, OrderStage.ORDERING, OrderStage.CHECKING, OrderStage.FOLLOWING, OrderStage.CANCELLING,
        OrderStage.ATTENTION, OrderStage.COMPLETED, OrderStage.CANCELLED,
    }),
    OrderStage.CHECKING: frozenset({
        OrderStage.LOADING, OrderStage.ORDERING, OrderStage.WRITING_BACK, OrderStage.FOLLOWING, OrderStage.CANCELLING,
        OrderStage.ATTENTION, OrderStage.COMPLETED, OrderStage.CANCELLED, OrderStage.NOT_NEEDED,
    }),
    OrderStage.FOLLOWING: frozenset({
        OrderStage.LOADING, OrderStage.ORDERING, OrderStage.WRITING_BACK, OrderStage.CANCELLING, OrderStage.ATTENTION,
        OrderStage.COMPLETED, OrderStage.CANCELLED,
    }),
    OrderStage.CANCELLING: frozenset({
        OrderStage.LOADING, OrderStage.ORDERING, OrderStage.WRITING_BACK, OrderStage.CHECKING, OrderStage.ATTENTION,
        OrderStage.CANCELLED, OrderStage.NOT_NEEDED,
    }),
    OrderStage.ATTENTION: frozenset({
        OrderStage.LOADING, OrderStage.ORDERING, OrderStage.WRITING_BACK, OrderStage.CHECKING, OrderStage.FOLLOWING,
        OrderStage.CANCELLING,
    }),
    OrderStage.COMPLETED: frozenset({OrderStage.LOADING, OrderStage.ORDERING, OrderStage.CANCELLING}),
    OrderStage.CANCELLED: frozenset({OrderStage.LOADING, OrderStage.ORDERING, OrderStage.CANCELLING}),
    OrderStage.NOT_NEEDED: frozenset({OrderStage.LOADING, OrderStage.ORDERING, OrderStage.CANCELLING}),
}  # fmt: skip
"""Which stage may follow which. The last three end the workflow, or wait a while for late notifications."""
