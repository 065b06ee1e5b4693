"""Random histories of deals end as the oracle allows, and the oracle finds the faults of a product without a rule.

CLOSEDWON_HISTORY_SEED repeats a seed. A single history is played again by `make soak ARGS="--seed N --history K"`.
"""

from __future__ import annotations

import os

import pytest

from tests.property.histories import history
from tests.property.rules import RULES, Rule
from tests.property.run import OF_A_RULE, Outcome, play_all

SEED = "CLOSEDWON_HISTORY_SEED"
_SEED = 20261130
"""The same histories in every run, so that a failure means a change; `make soak` plays others."""


def _seed() -> int:
    return int(os.environ.get(SEED) or _SEED)


def test_a_seed_makes_the_same_history_again() -> None:
    """A failing history is found again by its seed and number."""
    assert [str(history(7, number)) for number in range(50)] == [str(history(7, number)) for number in range(50)]
    assert str(history(7, 1)) != str(history(8, 1))


@pytest.fixture(scope="module")
async def thousand(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What comes of the first thousand histories of a seed."""
    return await play_all(tmp_path_factory.mktemp("thousand"), seed=_seed(), numbers=range(1000))


@pytest.mark.slow
def test_a_thousand_histories_end_as_the_oracle_allows(thousand: Outcome) -> None:
    """After any edits, messages, ERP faults and kills, a deal has the right order, or a person is asked."""
    assert not thousand.wrong, str(thousand)


@pytest.mark.slow
def test_the_audit_finds_nothing_about_what_is_right(thousand: Outcome) -> None:
    """The audit reports nothing that is right, except deals that wait for a person or have a number that was typed."""
    assert not thousand.needless, str(thousand)


@pytest.fixture(scope="module", params=RULES)
async def without(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Rule, Outcome]:
    """What comes of the histories that concern a rule when the product lacks it."""
    rule, seed = RULES[request.param], _seed()
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
