"""The oracle finds the faults of a product without a rule, and the audit reports them.

A file of its own, so that it runs beside the histories of the whole product.
"""

from __future__ import annotations

import pytest

from tests.property.rules import RULES, Rule
from tests.property.run import OF_A_RULE, Outcome, play_all, seed_of_tests


@pytest.fixture(scope="module", params=RULES)
async def without(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Rule, Outcome]:
    """What comes of the histories that concern a rule when the product lacks it."""
    rule, seed = RULES[request.param], seed_of_tests()
    folder = tmp_path_factory.mktemp(request.param)
    numbers = [*rule.histories(seed, OF_A_RULE)]
    return rule, await play_all(folder, seed=seed, numbers=numbers, without=request.param, strikes=rule.strikes)


@pytest.mark.slow
def test_without_a_rule_the_oracle_finds_what_it_prevents(without: tuple[Rule, Outcome]) -> None:
    """The oracle can fail: with each rule removed, it calls something wrong that the rule prevents."""
    rule, outcome = without

    assert outcome.kinds.keys() & rule.finds, str(outcome)


@pytest.mark.slow
def test_without_a_rule_the_audit_reports_what_the_oracle_finds(without: tuple[Rule, Outcome]) -> None:
    """Everything that the oracle calls wrong is found by the audit, too, as far as it leaves a trace."""
    rule, outcome = without

    assert not outcome.unreported.keys() - rule.traceless, str(outcome)
