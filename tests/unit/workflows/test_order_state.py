"""The state of an order as later decisions read it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from closedwon.errors import AttentionReason
from closedwon.ids import OrgId, RecordId
from closedwon.model.commands import Decision
from closedwon.model.erp import ErpOrder, ErpStatus
from closedwon.model.messages import Message
from closedwon.model.notifications import Notifications
from closedwon.model.order_state import OrderStart, OrderState, OtherRoute, Problem, Situation
from closedwon.model.routes import Channel
from closedwon.names import OrderStage
from tests.support.memory_erp import EARLY, LATE, held, sold


@pytest.mark.parametrize(
    ("placed", "has_order"),
    [(None, False), *((held(status=status), status != "cancelled") for status in ErpStatus)],
)
def test_a_cancelled_order_is_none(placed: ErpOrder | None, has_order: bool) -> None:  # noqa: FBT001
    """Every other state stands in the way of a second order."""
    state = OrderState(placed=placed)
    assert has_order is state.has_order is state.situation.has_order


def test_the_situation_is_what_the_table_reads() -> None:
    """Stage, reason and decision as they are, and none where there is none."""
    assert Situation(OrderStage.LOADING, None, None, has_order=False) == OrderState().situation
    problem = Problem(reason=AttentionReason.ERP_REJECTED, message="m", hint="c")
    state = OrderState(stage=OrderStage.ATTENTION, problem=problem, deciding=Decision(to="skip"), placed=held())
    assert Situation(OrderStage.ATTENTION, AttentionReason.ERP_REJECTED, "skip", has_order=True) == state.situation
    state.decision = Decision(to="cancel")  # it is only begun when the one before it has ended
    assert "skip" == state.situation.deciding


def test_the_newest_doubt_counts_per_erp() -> None:
    """An attempt whose ERP is not known counts for every other one."""
    state = OrderState()
    assert state.newest_doubt() is None
    state.note_doubt("a", LATE)
    state.note_doubt("a", EARLY)
    state.note_doubt(None, EARLY)
    assert {"a": LATE, "": EARLY} == state.in_doubt
    assert LATE == state.newest_doubt() == state.newest_doubt(except_in="b")
    assert EARLY == state.newest_doubt(except_in="a")
    assert LATE == state.newest_doubt(except_in="")
    state.note_doubt(None, LATE)
    assert LATE == state.newest_doubt(except_in="a")
    state.note_doubt(None, EARLY)
    assert {"a": LATE, "": LATE} == state.in_doubt


def test_t5_a_new_run_begins_with_all_that_was_known() -> None:
    """Also with a payload that was carried, and without the ERP's lines, which cost one more look."""
    state = OrderState(stage=OrderStage.ORDERING, order=sold(), erp="a", placed=held(), tried=True, check_since=LATE)
    first = Message(id="one", channel=Channel.CALLOUT, received_at=EARLY, modified_at=EARLY, payload={"Name": "first"})
    state.notifications.take(first)
    state.notifications.mark_done(LATE)
    state.note_doubt("a", LATE)
    start = OrderStart(org=OrgId("00D000000000001"), record=RecordId("006000000000001"), route="r", state=state)
    again = OrderStart.model_validate_json(start.model_dump_json()).state
    assert again is not None
    assert held().model_copy(update={"lines": None}) == again.placed
    assert first == again.notifications.newest
    assert not again.notifications.deleted
    expected = state.model_copy(update={"placed": again.placed})
    assert expected == again


def test_a_new_order_knows_nothing_yet() -> None:
    """No field claims anything before something has happened."""
    known = {name: value for name, value in OrderState().model_dump(exclude={"notifications"}).items() if value}
    assert {"stage": OrderStage.LOADING} == known
    assert not any(OrderState().notifications.model_dump().values())
    assert OrderStart(org=OrgId("00D000000000001"), record=RecordId("006000000000001"), route="r").state is None


def test_fields_of_another_version_are_passed_over() -> None:
    """Of the state and of its notifications: refusing them would wedge the workflow. No error shows what it refuses."""
    again = OrderState.model_validate({"stage": "ordering", "later": 1, "notifications": {"news": True, "later": 1}})
    assert (OrderStage.ORDERING, True) == (again.stage, again.notifications.news)
    for bad in ({"stage": "SECRET"}, {"notifications": {"newest": "SECRET"}}):
        with pytest.raises(ValidationError) as caught:
            OrderState.model_validate(bad)
        assert "SECRET" not in str(caught.value)
    with pytest.raises(ValidationError) as caught:
        Notifications.model_validate({"newest": "SECRET"})
    assert "SECRET" not in str(caught.value)
    for field in ("start", "notifications", "session", "rests"):
        with pytest.raises(ValidationError) as caught:
            OtherRoute.model_validate({"start": {"route": "r"}, field: ["SECRET"]})
        assert "SECRET" not in str(caught.value)
    other = OtherRoute.model_validate({"start": {"route": "r"}, "later": 1})
    assert (Notifications(), None, False) == (other.notifications, other.session, other.rests)
