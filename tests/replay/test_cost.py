"""What a run of a workflow costs a worker besides its own code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from closedwon.encryption.codec import data_converter
from tests.support.encryption import GOLDEN_KEY, keyed
from tests.support.histories import GOLDEN, history_name, read_history
from workers.sandbox import WORKFLOW_RUNNER
from workflows.order import OrderWorkflow

_CODE = frozenset({".py", ".pyc"})


class _Loaded:
    """Code that this process opens, compiles or executes while this is on; an audit hook cannot be taken away."""

    def __init__(self) -> None:
        self.on = False
        self.files: list[str] = []
        self.executed = 0
        """Pieces of code, each of which was run by itself, as that of a module or of a sandbox is."""
        sys.addaudithook(self._note)

    def _note(self, event: str, given: tuple[Any, ...]) -> None:
        if self.on and event in {"open", "compile"}:
            file = given[0] if event == "open" else given[1]
            if isinstance(file, str) and Path(file).suffix in _CODE:
                self.files.append(f"{event} {Path(file).name}")
        if self.on and event == "exec":
            self.executed += 1


async def _loaded_by_a_run(runner: WorkflowRunner) -> _Loaded:
    """The code that one more run of an order loads."""
    path = next(path for path in GOLDEN if "an_order_made_by_hand" in path.name)
    history = WorkflowHistory.from_json(history_name(path), read_history(path))
    replayer = Replayer(
        workflows=[OrderWorkflow], data_converter=data_converter(keyed(GOLDEN_KEY)), workflow_runner=runner
    )
    await replayer.replay_workflow(history)
    loaded = _Loaded()
    loaded.on = True
    await replayer.replay_workflow(history)
    loaded.on = False
    return loaded


async def test_an_order_loads_and_compiles_no_code() -> None:
    """So it costs the same where Python writes no compiled files: in images, and on read-only file systems."""
    assert (await _loaded_by_a_run(WORKFLOW_RUNNER)).files == []


async def test_an_order_enters_no_sandbox() -> None:
    """The SDK enters it for each task of a workflow and several times for each value that the task has."""
    assert (await _loaded_by_a_run(WORKFLOW_RUNNER)).executed == 0


async def test_without_our_runner_each_order_loads_the_workflow_again() -> None:
    """The measurement sees what it is about."""
    loaded = await _loaded_by_a_run(SandboxedWorkflowRunner())
    assert any(file.startswith("open order.") for file in loaded.files)
    assert loaded.executed > 0
