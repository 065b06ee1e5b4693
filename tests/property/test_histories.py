"""Random histories of deals end as the oracle allows.

A single history is played again by `make soak ARGS="--seed N --history K"`.
"""

from __future__ import annotations

import pytest

from tests.property.histories import history
from tests.property.run import Outcome, play_all, seed_of_tests


def test_a_seed_makes_the_same_history_again() -> None:
    """A failing history is found again by its seed and number."""
    assert [str(history(7, number)) for number in range(50)] == [str(history(7, number)) for number in range(50)]
    assert str(history(7, 1)) != str(history(8, 1))


@pytest.fixture(scope="module")
async def thousand(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What comes of the first thousand histories of a seed."""
    return await play_all(tmp_path_factory.mktemp("thousand"), seed=seed_of_tests(), numbers=range(1000))


@pytest.mark.slow
def test_a_thousand_histories_end_as_the_oracle_allows(thousand: Outcome) -> None:
    """After any edits, messages, ERP faults and kills, a deal has the right order, or a person is asked."""
    assert not thousand.wrong, str(thousand)


@pytest.mark.slow
def test_the_audit_finds_nothing_about_what_is_right(thousand: Outcome) -> None:
    """The audit reports nothing that is right, except deals that wait for a person or have a number that was typed."""
    assert not thousand.needless, str(thousand)
