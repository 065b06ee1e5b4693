"""The oracle's own table: what it allows and what it does not, one line each."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.property.oracle import (
    ByHand,
    Content,
    Fact,
    Found,
    FoundOrder,
    Line,
    Policies,
    State,
    Truth,
    Wrong,
    compare,
    compare_stranger,
    may_be_found,
)

_LINES = (Line("A", Decimal(2), Decimal("20.00")), Line("B", Decimal(1), Decimal("5.00")))
_SOLD = Content("customer", "EUR", _LINES)
_MORE = replace(_SOLD, lines=(*_LINES, Line("C", Decimal(1), Decimal("1.00"))))
_CONTRADICTING = replace(_SOLD, amount=Decimal("24.00"))
_MOVED = replace(_SOLD, customer="another")
_STRICT = Policies("cancel", "cancel", "amend")
_ASKING = Policies("attention", "attention", "attention")
_LAX = Policies("ignore", "ignore", "ignore")

_OPEN = State(won=False, content=_SOLD)
_WON = State(won=True, content=_SOLD)
_ORDER = FoundOrder("north", "N1", "key", "confirmed", _SOLD)
_CANCELLED = replace(_ORDER, status="cancelled")
_FOUND = Found((_ORDER,), "N1")
_NOTHING = Found((), None)


def _truth(*states: State, policies: Policies = _STRICT, facts: frozenset[Fact] = frozenset()) -> Truth:
    return Truth("key", policies, states, facts)


@pytest.mark.parametrize(
    ("truth", "found"),
    [
        pytest.param(_truth(_OPEN), _NOTHING, id="never won, no order"),
        pytest.param(_truth(_OPEN, _WON), _FOUND, id="won, ordered"),
        pytest.param(
            _truth(_OPEN, _WON),
            Found((replace(_ORDER, content=replace(_SOLD, lines=_LINES[::-1])),), "N1"),
            id="the ERP lists the lines in another order",
        ),
        pytest.param(
            _truth(_OPEN, _WON, State(won=True, content=_MORE)),
            Found((replace(_ORDER, content=_MORE),), "N1"),
            id="changed, amended",
        ),
        pytest.param(
            _truth(_WON, State(won=True, content=_MORE), policies=_ASKING),
            Found((_ORDER,), "N1", reason="amount-differs"),
            id="changed, a person is asked",
        ),
        pytest.param(_truth(_WON, State(won=True, content=_MORE), policies=_LAX), _FOUND, id="changed, ignored"),
        pytest.param(
            _truth(_WON, State(won=True, content=_MOVED)),
            Found((_ORDER,), "N1", reason="customer-differs"),
            id="moved to another customer, a person is asked",
        ),
        pytest.param(_truth(_WON, _OPEN), Found((_CANCELLED,), None), id="reopened, cancelled"),
        pytest.param(_truth(_WON, _OPEN, policies=_LAX), _FOUND, id="reopened, ignored"),
        pytest.param(
            _truth(_WON, _OPEN, policies=_ASKING),
            Found((_ORDER,), "N1", reason="no-longer-qualifies"),
            id="reopened, asked",
        ),
        pytest.param(_truth(_WON, _OPEN, _WON), _FOUND, id="won again, reopened"),
        pytest.param(_truth(_WON, replace(_WON, deleted=True)), Found((_CANCELLED,), None), id="deleted, cancelled"),
        pytest.param(
            _truth(_WON, facts=frozenset({Fact.NUMBER_TYPED})),
            Found((), "N9", reason="order-exists"),
            id="a copied number, a person is asked",
        ),
        pytest.param(
            _truth(State(won=True, content=_CONTRADICTING)),
            Found((), None, reason="amount-differs"),
            id="lines and total contradict each other, a person is asked",
        ),
        pytest.param(
            _truth(_WON, facts=frozenset({Fact.ERP_CANCELLED})), Found((_CANCELLED,), "N1"), id="cancelled in the ERP"
        ),
    ],
)
def test_what_may_be(truth: Truth, found: Found) -> None:
    """The end that the rules lead to is not called wrong."""
    assert [] == [*compare(truth, found)]


@pytest.mark.parametrize(
    ("truth", "found", "wrong"),
    [
        pytest.param(_truth(_OPEN), Found((_ORDER,), "N1"), Wrong.NEVER_WON, id="never won, ordered"),
        pytest.param(_truth(_OPEN), Found((_CANCELLED,), None), Wrong.NEVER_WON, id="never won, ordered and cancelled"),
        pytest.param(_truth(_WON), _NOTHING, Wrong.MISSING, id="won, no order"),
        pytest.param(_truth(_WON), Found((_CANCELLED,), "N1"), Wrong.MISSING, id="won, its order is cancelled"),
        pytest.param(
            _truth(_WON),
            Found((_ORDER, replace(_ORDER, erp="south")), "N1"),
            Wrong.DUPLICATE_ORDER,
            id="one in each ERP",
        ),
        pytest.param(
            _truth(_WON),
            Found((replace(_ORDER, content=_MORE),), "N1"),
            Wrong.NOT_SIGNED,
            id="lines that were never signed",
        ),
        pytest.param(
            _truth(_WON, facts=frozenset({Fact.NUMBER_TYPED})),
            Found((replace(_ORDER, content=_MOVED),), "N1", reason="amount-differs"),
            Wrong.NOT_SIGNED,
            id="another customer's order, though a person is asked",
        ),
        pytest.param(
            _truth(State(won=True, content=_CONTRADICTING)),
            _FOUND,
            Wrong.NOT_SIGNED,
            id="lines and total contradict each other, ordered",
        ),
        pytest.param(_truth(_WON, State(won=True, content=_MORE)), _FOUND, Wrong.OUTDATED, id="changed, not amended"),
        pytest.param(
            _truth(_WON, State(won=True, content=_MOVED)), _FOUND, Wrong.OUTDATED, id="moved, and no person is asked"
        ),
        pytest.param(
            _truth(_WON, State(won=True, content=_SOLD, erp="south")), _FOUND, Wrong.OUTDATED, id="in another ERP"
        ),
        pytest.param(
            _truth(_WON), Found((replace(_ORDER, status="draft"),), "N1"), Wrong.NOT_TAKEN, id="never confirmed"
        ),
        pytest.param(_truth(_WON), Found((_ORDER,), "N2"), Wrong.WRONG_NUMBER, id="another number on the record"),
        pytest.param(_truth(_WON, _OPEN), _FOUND, Wrong.LEFT_OVER, id="reopened, not cancelled"),
        pytest.param(_truth(_WON, replace(_WON, deleted=True)), _FOUND, Wrong.LEFT_OVER, id="deleted, not cancelled"),
        pytest.param(
            _truth(_WON), Found((_ORDER,), "N1", reason="amount-differs"), Wrong.NEEDLESS, id="asked about nothing"
        ),
        pytest.param(
            _truth(_WON), Found((_ORDER,), "N1", ended=False), Wrong.UNENDED, id="a workflow that does not end"
        ),
    ],
)
def test_what_may_not_be(truth: Truth, found: Found, wrong: Wrong) -> None:
    """Each fault is found, and nothing beside it."""
    assert [wrong] == [*compare(truth, found)]


_MADE = ByHand("north", "N1", "confirmed", _SOLD)
_NAMED = Truth("key", _STRICT, (_WON,), frozenset({Fact.NUMBER_TYPED}), frozenset({"N1"}))
_LEFT = replace(_ORDER, key="by-hand:1")


@pytest.mark.parametrize(
    ("made", "now", "deal", "wrong"),
    [
        pytest.param(_MADE, _LEFT, _NAMED, [], id="left alone"),
        pytest.param(_MADE, _ORDER, _NAMED, [], id="named by the record, and all agrees"),
        pytest.param(_MADE, None, _NAMED, [Wrong.CHANGED_STRANGER], id="gone"),
        pytest.param(
            _MADE, replace(_LEFT, status="cancelled"), _NAMED, [Wrong.CHANGED_STRANGER], id="cancelled by somebody else"
        ),
        pytest.param(_MADE, replace(_LEFT, content=_MORE), _NAMED, [Wrong.CHANGED_STRANGER], id="amended"),
        pytest.param(_MADE, _ORDER, replace(_NAMED, typed=frozenset()), [Wrong.CLAIMED_STRANGER], id="not named"),
        pytest.param(replace(_MADE, is_from_before=True), _ORDER, _NAMED, [Wrong.CLAIMED_STRANGER], id="from before"),
        pytest.param(
            replace(_MADE, content=_MOVED),
            replace(_ORDER, content=_MOVED),
            _NAMED,
            [Wrong.CLAIMED_STRANGER],
            id="of another customer",
        ),
    ],
)
def test_strangers(made: ByHand, now: FoundOrder | None, deal: Truth, wrong: list[Wrong]) -> None:
    """Somebody else's order stays as it is, and is claimed only where everything agrees."""
    assert wrong == [*compare_stranger(made, now, [deal])]


@pytest.mark.parametrize(
    ("deal", "found"),
    [
        (_NAMED, {"unknown-number"}),
        (replace(_NAMED, states=(_WON, replace(_WON, content=_MORE))), {"unknown-number", "foreign-order"}),
        (replace(_NAMED, facts=frozenset(), states=(_WON, replace(_WON, content=_MORE))), set()),
        (replace(_NAMED, facts=frozenset({Fact.ERP_CANCELLED})), {"cancelled-in-erp", "not-written-back"}),
    ],
)
def test_what_an_audit_may_find_about_what_is_right(deal: Truth, found: set[str]) -> None:
    """What people typed or cancelled; an adopted order only once the deal was changed, or its order cancelled."""
    assert found == may_be_found(deal)
