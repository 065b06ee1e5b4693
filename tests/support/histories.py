"""Recording golden histories: `make histories` lets the workflow tests save the histories of their workflows."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client, WorkflowHistory

_FOLDER: Final = "CLOSEDWON_RECORD_HISTORIES"
"""The environment variable that names the folder; without it nothing is recorded."""
_NOT_REPLAYED: Final = frozenset({"stackTrace", "identity"})
"""What replay does not read, and what names the machine that recorded it."""

SUFFIX: Final = ".json.gz"
GOLDEN: Final = sorted((Path(__file__).parents[1] / "replay" / "histories").glob(f"*{SUFFIX}"))


def history_name(file: Path) -> str:
    """The name of a recorded history, without the suffix of its file."""
    return file.name.removesuffix(SUFFIX)


def read_history(file: Path) -> str:
    """A recorded history as JSON."""
    return gzip.decompress(file.read_bytes()).decode()


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
    _write(Path(folder) / f"{name}{SUFFIX}", history)
    if before := history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id:
        handle = client.get_workflow_handle(workflow_id, run_id=before)
        _write(Path(folder) / f"{name}.before{SUFFIX}", await handle.fetch_history())


def _write(file: Path, history: WorkflowHistory) -> None:
    text = json.dumps(_portable(json.loads(history.to_json())), indent=1) + "\n"
    file.write_bytes(gzip.compress(text.encode(), mtime=0))  # the same bytes for the same history


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items() if key not in _NOT_REPLAYED}
    return [_portable(item) for item in value] if isinstance(value, list) else value
