"""What a command does in each situation: every combination, checked against the rules as an operator states them."""

from __future__ import annotations

import itertools

import pytest

from closedwon.errors import AttentionReason
from closedwon.model.order_state import Situation
from closedwon.names import OrderStage
from workflows.order_table import COMMANDS, KEPT_BY_RETRY, SALESFORCE_REFUSES, TRANSITIONS, Effect, effect_of, offered

Reason = AttentionReason
ATTENTION = OrderStage.ATTENTION
FINAL = {OrderStage.COMPLETED, OrderStage.CANCELLED, OrderStage.NOT_NEEDED}
CANNOT_BE_WRITTEN = {
    "salesforce-rejected", "salesforce-validation", "salesforce-auth-failed", "record-not-found", "record-deleted",
}  # fmt: skip

SITUATIONS = [
    Situation(*parts)
    for parts in itertools.product(
        OrderStage, (None, *AttentionReason), (None, "cancel", "resolve", "skip"), (True, False)
    )
]


def retry(now: Situation) -> str:
    """Only an order in attention has something to give way; an end has nothing to try."""
    if now.stage in FINAL:
        return "nothing"
    if now.stage is ATTENTION and now.deciding is None:
        is_unqualified = now.reason in {"too-late-to-cancel", "no-longer-qualifies", "record-deleted"}
        return "keep-order" if is_unqualified else "re-read"
    if now.stage is ATTENTION:
        erp_has_it = now.reason in {"too-late-to-cancel", "order-exists"}
        return "drop-decision" if erp_has_it else "repeat-decision"
    return "re-read" if (now.stage, now.deciding) == ("ordering", None) else "try-now"


def cancel(now: Situation) -> str:
    """Always accepted; sent again where the end cannot be written, it ends without."""
    again = now.stage is ATTENTION and now.deciding == "cancel"
    return "end-unwritten" if again and now.reason in CANNOT_BE_WRITTEN else "cancel"


def resolve(now: Situation) -> str:
    """A number is not forgotten unless the record is gone; two orders are not possible outside of attention."""
    if now.stage is not ATTENTION:
        return "resolve-same" if now.has_order else "resolve"
    return "end-unwritten" if (now.deciding, now.reason) == ("resolve", "record-not-found") else "resolve"


def skip(now: Situation) -> str:
    """As `cancel`, but no order may be left behind."""
    if now.stage is ATTENTION and now.deciding == "skip" and now.reason in CANNOT_BE_WRITTEN:
        return "end-unwritten"
    return "refuse-skip" if now.has_order else "skip"


RULES = {"retry": retry, "cancel": cancel, "resolve": resolve, "skip": skip}


def test_every_command_in_every_situation() -> None:
    """1,920 situations, four commands; the answer is a sentence in each."""
    assert tuple(RULES) == COMMANDS
    for now, (command, rule) in itertools.product(SITUATIONS, RULES.items()):
        effect = effect_of(command, now)
        assert (rule(now), now, command) == (effect.value, now, command)
        assert effect.answer.endswith(".")
        assert effect.accepted is (effect.value != "refuse-skip")


def test_a_command_that_does_not_exist_has_no_effect() -> None:
    """It is an error of the program."""
    with pytest.raises(StopIteration):
        effect_of("pause", SITUATIONS[0])


def test_every_open_stage_offers_something() -> None:
    """What is offered says in a few words what it would do; what would change nothing is not offered."""
    unoffered = {"nothing", "resolve-same", "refuse-skip"}
    for now in SITUATIONS:
        offers = dict(offered(now))
        assert now.stage in FINAL or offers
        for command in COMMANDS:
            effect = effect_of(command, now)
            assert (command in offers) is (effect.value not in unoffered)
        assert all(effect.hint and not effect.hint.endswith(".") for effect in offers.values())


def test_each_effect_has_an_answer_of_its_own() -> None:
    """The number of the command and the ERP's order are named where they matter."""
    assert len(Effect) == len({effect.answer for effect in Effect})
    with_order = {effect for effect in Effect if "{order}" in effect.answer}
    assert {Effect.RESOLVE_SAME, Effect.REFUSE_SKIP} == with_order
    assert {Effect.RESOLVE} == {effect for effect in Effect if "{number}" in effect.answer}


def test_where_retry_keeps_an_order() -> None:
    """A mass `retry` leaves these out."""
    assert ("too-late-to-cancel", "no-longer-qualifies", "record-deleted", "order-exists") == KEPT_BY_RETRY
    assert CANNOT_BE_WRITTEN == SALESFORCE_REFUSES


def test_every_stage_can_be_reached_and_left() -> None:
    """From `loading`; a final stage is left only for a late notification or a command; no stage follows itself."""
    assert set(OrderStage) == set(TRANSITIONS)
    reached, more = set[OrderStage](), {OrderStage.LOADING}
    while more:
        reached |= more
        more = {stage for known in reached for stage in TRANSITIONS[known]} - reached
    assert set(OrderStage) == reached
    assert all(stage not in following for stage, following in TRANSITIONS.items())
    begins = {OrderStage.LOADING, OrderStage.ORDERING, OrderStage.CANCELLING}
    assert all(begins == TRANSITIONS[stage] for stage in FINAL)
    assert all(ATTENTION in TRANSITIONS[stage] for stage in set(OrderStage) - FINAL - {ATTENTION})
    assert not TRANSITIONS[ATTENTION] & FINAL
