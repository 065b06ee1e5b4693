"""Reasons for attention: each has a sentence, and a section in the runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from closedwon.errors import AttentionReason

_RUNBOOK = Path(__file__).parents[2] / "docs" / "operate" / "attention-reasons.md"


@pytest.mark.parametrize("reason", AttentionReason)
def test_a_reason_has_a_sentence_and_a_section(reason: AttentionReason) -> None:
    """A person who reads the reason in a list or an alert finds in the runbook what it means and what to do."""
    section = re.search(
        rf"^## `{reason}`\n\n(.+?)(?=\n## |\Z)", _RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )

    assert reason.sentence.endswith(".")
    assert reason.hint.endswith(".")
    assert section is not None
    assert len(section[1]) > 80
