"""Recording golden histories: tests that tell a workflow's story leave its history, when asked (`make histories`)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client, WorkflowHistory

_FOLDER: Final = "CLOSEDWON_RECORD_HISTORIES"
"""The environment variable that names the folder; without it nothing is recorded."""
_NOT_REPLAYED: Final = frozenset({"stackTrace", "identity"})
"""What replay does not read and what tells of the machine that recorded it."""


async def keep_history(client: Client, workflow_id: str) -> None:
    """Write the history of a workflow's present run, named after the running test and the workflow's kind.

    Of the run before it, too, where there is one: that one ends where a new run begins.
    """
    folder = os.environ.get(_FOLDER)
    if folder is None:
        return
    test = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0].removeprefix("test_")
    name = f"{workflow_id.partition(':')[0]}-{test}"
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    _write(Path(folder) / f"{name}.json", history)
    if before := history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id:
        handle = client.get_workflow_handle(workflow_id, run_id=before)
        _write(Path(folder) / f"{name}.before.json", await handle.fetch_history())


def _write(file: Path, history: WorkflowHistory) -> None:
    file.write_text(json.dumps(_portable(json.loads(history.to_json())), indent=1) + "\n")


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items() if key not in _NOT_REPLAYED}
    return [_portable(item) for item in value] if isinstance(value, list) else value
