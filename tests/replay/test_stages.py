"""The table of transitions, and with it the diagram, says what recorded orders have really done."""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from closedwon.names import ORDER_STAGE, OrderStage
from tests.support.histories import GOLDEN, history_name, read_history
from workflows.order_table import TRANSITIONS

_ORDERS = [path for path in GOLDEN if path.name.startswith("order-")]


def _stages(path: Path) -> list[OrderStage]:
    """The stages that the order has shown, one after the other; the first as it was started or continued."""
    found: list[str] = []
    for event in json.loads(read_history(path))["events"]:
        for kind in ("workflowExecutionStartedEventAttributes", "upsertWorkflowSearchAttributesEventAttributes"):
            fields: dict[str, Any] = event.get(kind, {}).get("searchAttributes", {}).get("indexedFields", {})
            if (stage := fields.get(ORDER_STAGE)) is not None:
                values = json.loads(base64.b64decode(stage["data"]))
                found += values if isinstance(values, list) else [values]
    return [OrderStage(stage) for stage, _ in itertools.groupby(found)]


@pytest.mark.parametrize("path", _ORDERS, ids=history_name)
def test_a_recorded_order_uses_only_known_transitions(path: Path) -> None:
    """A stage that follows another one without being in the table would be missing in the diagram, too."""
    for before, after in itertools.pairwise(_stages(path)):
        assert after in TRANSITIONS[before], f"{before.value} -> {after.value}"


def test_recorded_orders_show_every_stage_and_most_transitions() -> None:
    """What is not recorded proves nothing."""
    used = {edge for path in _ORDERS for edge in itertools.pairwise(_stages(path))}
    assert set(OrderStage) - {OrderStage.CHECKING} <= {stage for edge in used for stage in edge}
    assert 30 < len(used)
