"""Reasons for attention: each is told in words, and has its section in the runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from closedwon.errors import AttentionReason

_RUNBOOK = Path(__file__).parents[2] / "docs" / "operating.md"


@pytest.mark.parametrize("reason", AttentionReason)
def test_a_reason_has_a_sentence_and_a_section(reason: AttentionReason) -> None:
    """Whoever reads the word in a list or an alert finds in the runbook what it means and what to do."""
    section = re.search(rf"^### `{reason}`\n\n(.+)", _RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)

    assert reason.sentence.endswith(".")
    assert reason.cure.endswith(".")
    assert section is not None
    assert len(section[1]) > 40
