"""Each kind of finding has a title, a hint and a line in the runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from closedwon.audit.kinds import KINDS, FindingKind

_RUNBOOK = Path(__file__).parents[3] / "docs" / "operate" / "audit.md"


@pytest.mark.parametrize("kind", FindingKind)
def test_each_kind_has_a_title_a_hint_and_a_line_in_the_runbook(kind: FindingKind) -> None:
    """Readers of a report, a metric or an alert find its meaning and what to do."""
    (line,) = re.findall(rf"^\| `{kind}` \|.*$", _RUNBOOK.read_text("utf-8"), re.MULTILINE)

    assert len(line) > 80
    assert len(KINDS[kind].title) > 20
    assert KINDS[kind].hint.endswith(".")
