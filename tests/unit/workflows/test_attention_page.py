"""The generated page of attention reasons."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from closedwon.errors import AttentionReason
from workflows.attention_page import DETAILS, page

_PAGE = Path(__file__).parents[3] / "docs" / "operate" / "attention-reasons.md"


def test_the_page_is_what_the_code_says() -> None:
    """An operator reads what the program prints: `make docs` writes the page again."""
    assert page() == _PAGE.read_text(encoding="utf-8"), "run `make docs`"


@pytest.mark.parametrize("reason", AttentionReason)
def test_a_reason_has_a_section_with_its_sentence_and_hint(reason: AttentionReason) -> None:
    """An operator who finds a reason in a list or an alert can look it up."""
    (section,) = re.findall(rf"^## `{reason}`\n\n(.+?)(?=\n\n## |\Z)", page(), re.MULTILINE | re.DOTALL)

    assert reason.sentence in section
    assert reason.hint in section


def test_every_reason_has_an_entry_of_details() -> None:
    """A new reason is not forgotten, even if there is nothing to add."""
    assert set(AttentionReason) == set(DETAILS)


def test_each_sentence_is_one_line() -> None:
    """The source wraps its texts at 120 columns; the page does not show that."""
    lines = [line for line in page().splitlines() if line and not line.startswith(("#", "|", "<!--"))]

    assert [] == [line for line in lines if line[-1] not in ".:"]
