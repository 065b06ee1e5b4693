"""The table of transitions, and with it the diagram, says what recorded orders have really done."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Final

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from closedwon import names
from closedwon.encryption.codec import data_converter
from closedwon.model.order_state import OrderStart, Problem
from closedwon.model.outcomes import OrderOutcome
from closedwon.names import OrderStage
from tests.support.encryption import GOLDEN_KEY, keyed
from tests.support.histories import GOLDEN, history_name, read_history
from workflows.order import OrderWorkflow
from workflows.order_table import TRANSITIONS

_ORDERS = [path for path in GOLDEN if path.name.startswith("order-")]
_SEEN: Final[list[OrderStage]] = []
"""The stages of the order that is being replayed."""


@workflow.defn(name=names.ORDER_WORKFLOW, sandboxed=False)
class _WatchedOrder(OrderWorkflow):
    """Notes each stage that it enters, also those that succeed at once and are never shown."""

    @workflow.init
    def __init__(self, start: OrderStart) -> None:
        super().__init__(start)
        _SEEN[:] = [self._state.stage]
        enter = self._presenter.enter

        def note(stage: OrderStage, problem: Problem | None = None) -> None:
            _SEEN.append(stage)
            enter(stage, problem)

        self._presenter.enter = note  # type: ignore[method-assign]

    @workflow.run
    async def run(self, start: OrderStart) -> OrderOutcome:
        return await super().run(start)


async def _stages(path: Path) -> list[OrderStage]:
    """The stages that the order has entered, one after the other."""
    replayer = Replayer(workflows=[_WatchedOrder], data_converter=data_converter(keyed(GOLDEN_KEY)))
    await replayer.replay_workflow(WorkflowHistory.from_json(history_name(path), read_history(path)))
    return [stage for stage, _ in itertools.groupby(_SEEN)]


@pytest.mark.parametrize("path", _ORDERS, ids=history_name)
async def test_a_recorded_order_uses_only_known_transitions(path: Path) -> None:
    """A stage that follows another one without being in the table would be missing in the diagram, too."""
    for before, after in itertools.pairwise(await _stages(path)):
        assert after in TRANSITIONS[before], f"{before.value} -> {after.value}"


async def test_recorded_orders_enter_every_stage_and_most_transitions() -> None:
    """What is not recorded proves nothing."""
    used = {edge for path in _ORDERS for edge in itertools.pairwise(await _stages(path))}
    assert set(OrderStage) - {OrderStage.CHECKING} <= {stage for edge in used for stage in edge}
    assert 30 < len(used)
