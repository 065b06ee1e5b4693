"""The examples of docs/erp-rest-contract.md are what the code sends and reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from closedwon.model.erp import ErpOrder
from closedwon.model.orders import Order

PAGE = Path(__file__).parents[3] / "docs" / "erp-rest-contract.md"


@pytest.fixture
def examples() -> list[dict[str, Any]]:
    """The page's JSON blocks."""
    return [
        json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    ]


def test_the_request_is_an_order(examples: list[dict[str, Any]]) -> None:
    """A facade that is written against the page's request understands every field that Closedwon sends."""
    sent = Order.model_validate(examples[0]).model_dump(mode="json")

    assert sent == examples[0]


def test_the_answer_is_understood(examples: list[dict[str, Any]]) -> None:
    """A facade that answers as the page says is understood."""
    order = ErpOrder.model_validate(examples[1])
    lines = [line.model_dump(mode="json") for line in order.lines or ()]

    not_stored = {"lines": lines, "reference": order.reference, "delivery_date": order.delivery_date}
    assert order.model_dump(mode="json") | not_stored == examples[1]
