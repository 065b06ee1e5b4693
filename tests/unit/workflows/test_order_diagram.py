"""The generated page of stages and commands."""

from __future__ import annotations

from pathlib import Path

from closedwon.errors import AttentionReason
from closedwon.names import OrderStage
from workflows.order_diagram import page
from workflows.order_table import COMMANDS

_PAGE = Path(__file__).parents[3] / "docs" / "order-states.md"


def test_the_page_is_what_the_table_says() -> None:
    """The page agrees with the table; `make docs` writes it again."""
    assert page() == _PAGE.read_text(encoding="utf-8"), "run `make docs`"


def test_the_page_names_every_stage_reason_and_command() -> None:
    """Nothing that an operator can see or send is left out."""
    text = page()
    assert [] == [each for each in (*OrderStage, *AttentionReason, *COMMANDS) if each not in text]
