"""Each kind of disagreement has its words, and its line in the runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from closedwon.audit.kinds import KINDS, Kind

_RUNBOOK = Path(__file__).parents[3] / "docs" / "operating.md"


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_has_its_words_and_its_line(kind: Kind) -> None:
    """Whoever reads the word in a report, a metric or an alert finds what it means and what to do."""
    (line,) = re.findall(rf"^\| `{kind}` \|.*$", _RUNBOOK.read_text("utf-8"), re.MULTILINE)

    assert len(line) > 80
    assert len(KINDS[kind].title) > 20
    assert KINDS[kind].cure.endswith(".")
