"""The product without one of its rules: substitutions that only the processes of this test apply.

`process` applies one of them before it starts; settings cannot reach them. Each removes what enforces the rule and
nothing else. `RULES` says for each which histories show it, which faults they need, and what the oracle then finds.

Everything that goes wrong leaves a trace in one of the three systems, with this exception, which the audit cannot
report (`traceless`):

- The order of a deal that was never won, on a route with `source = "event"`, made of a forged message and cancelled
  since, by a policy or a sweep: a deal that was won and reopened looks the same. While the order lives, the audit
  reports it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Final

from activities import attempts
from closedwon.erp import adopting, base, checking
from closedwon.intake import outbound
from closedwon.mapping import write_back
from closedwon.model.erp import ErpOrder, Origin
from tests.property.histories import Do, Fate, History, history
from tests.property.oracle import Wrong


def _replace(module: Any, **parts: Any) -> None:
    vars(module).update(parts)


def _adopt_without_comparing() -> None:
    """An order that was made by hand is claimed without a comparison."""
    _replace(adopting, differences=lambda *_, **__: [])


def _believe_every_answer() -> None:
    """An answer of the ERP is taken for the record's order with any key."""
    found = checking.CheckedErp
    found._check_key = found._refuse = lambda *_, **__: None  # type: ignore[assignment,method-assign]
    found._same = lambda _self, _call, answered, *_: answered  # type: ignore[method-assign]


def _found_with(**facts: Any) -> None:
    """Let every order that is found under a key say these things of itself."""
    find = checking.CheckedErp.find

    async def find_with(self: checking.CheckedErp, key: str) -> ErpOrder | None:
        found = await find(self, key)
        return None if found is None else found.model_copy(update=facts)

    checking.CheckedErp.find = find_with  # type: ignore[assignment,method-assign]


def _treat_all_orders_as_ours() -> None:
    """A policy changes and cancels what people made, too."""
    _found_with(origin=Origin.CREATED)


def _believe_every_record() -> None:
    """What a record says about its order counts without proof."""
    _replace(write_back, proof=lambda *_, **__: write_back.Proof.OWN)


def _order_any_total() -> None:
    """The lines are ordered without a comparison with the deal's own total."""
    _replace(base, total_agrees=lambda _: True)


def _take_what_is_found() -> None:
    """An order that the ERP has under the key is never compared with what was sold."""
    _replace(base, differs=lambda *_, **__: False, other_customer=lambda *_: False)


def _write_without_fence() -> None:
    """Writes name no version, and those without an answer are forgotten."""
    _found_with(version=None)
    attempts.Attempt.unanswered = lambda _: None  # type: ignore[assignment,method-assign]
    _replace(attempts, _earlier_doubt=lambda _: None)


def _let_any_message_count() -> None:
    """An older message changes an order back that was made of a newer one."""
    _replace(base, is_newer=lambda *_, **__: False)


def _take_any_sender() -> None:
    """Intake takes an outbound message at any address of its route, from any sender."""
    _replace(outbound, check_origin=lambda *_, **__: None)


def _by_hand(one: History) -> bool:
    return any(step.do is Do.BY_HAND for step in one.steps)


def _adopted_and_changed(one: History) -> bool:
    """One win, no edit: more would store its time with the order, and the assumed origin, which is the only trace."""
    done = Counter(step.do for step in one.steps)
    if done[Do.WIN] > 1 or done[Do.EDIT]:
        return False
    made = [step for step in one.steps if step.do is Do.BY_HAND and not step.is_from_before]
    first = next((step.content for step in one.steps if step.do is Do.CREATE), None)
    agrees = any(step.content == first for step in made)
    return agrees and one.steps[-1].do in (Do.REOPEN, Do.DELETE) and one.route.policies.on_unqualified == "cancel"


def _copied(one: History) -> bool:
    return any(step.do in (Do.TYPE, Do.CLONE) and "status" in step.text for step in one.steps)


def _contradicting(one: History) -> bool:
    return any(step.content is not None and step.content.contradicts_itself for step in one.steps)


def _edited(one: History) -> bool:
    return any(step.do is Do.EDIT for step in one.steps) and one.route.policies.on_changed != "ignore"


def _restless(one: History) -> bool:
    """It changes again and again, each time after the effects of the change before."""
    changes = [step for step in one.steps if step.do in (Do.EDIT, Do.WIN, Do.REOPEN)]
    is_patient = all(step.waits and step.fate in (Fate.NOW, Fate.TWICE) for step in changes)
    return len(changes) > 2 and is_patient and one.route.policies.on_unqualified == "cancel"


def _forged(one: History) -> bool:
    return one.route.push == "outbound" and any(step.do is Do.FORGE for step in one.steps)


def _late(one: History) -> bool:
    return one.route.by_event and any(step.fate is Fate.LATE for step in one.steps[:-1])


@dataclass(frozen=True)
class Rule:
    """One rule of the product."""

    remove: Callable[[], None]
    concerns: Callable[[History], bool]
    """Which histories show what it prevents."""
    finds: frozenset[Wrong]
    """At least one of these is found without it."""
    strikes: tuple[str, ...] = ()
    traceless: frozenset[Wrong] = frozenset()
    """What the audit need not report: see the module's text."""

    def histories(self, seed: int, number: int) -> Iterator[int]:
        """The numbers of the first histories of a seed that concern it."""
        return islice((each for each in count() if self.concerns(history(seed, each))), number)


RULES: Final[Mapping[str, Rule]] = {
    "compare-before-adopting": Rule(
        _adopt_without_comparing, _by_hand, frozenset({Wrong.CLAIMED_STRANGER, Wrong.NOT_SIGNED})
    ),
    "touch-only-our-own": Rule(_treat_all_orders_as_ours, _adopted_and_changed, frozenset({Wrong.CHANGED_STRANGER})),
    "believe-only-our-key": Rule(
        _believe_every_answer,
        _restless,
        frozenset({Wrong.MISSING, Wrong.WRONG_NUMBER, Wrong.LEFT_OVER, Wrong.OUTDATED}),
        strikes=("forget-filter",),
    ),
    "prove-what-a-record-says": Rule(_believe_every_record, _copied, frozenset({Wrong.MISSING})),
    "compare-with-the-signed-total": Rule(_order_any_total, _contradicting, frozenset({Wrong.NOT_SIGNED})),
    "compare-what-is-found": Rule(_take_what_is_found, _edited, frozenset({Wrong.OUTDATED})),
    "fence-writes": Rule(
        _write_without_fence,
        _restless,
        frozenset({Wrong.OUTDATED, Wrong.LEFT_OVER, Wrong.MISSING}),
        strikes=("hold-long",),
    ),
    "newest-message-wins": Rule(
        _let_any_message_count,
        _late,
        frozenset({Wrong.OUTDATED, Wrong.LEFT_OVER, Wrong.MISSING}),
    ),
    "prove-the-origin": Rule(
        _take_any_sender,
        _forged,
        frozenset({Wrong.NEVER_WON, Wrong.NOT_SIGNED}),
        traceless=frozenset({Wrong.NEVER_WON}),
    ),
}
