"""In what workflow code runs: in the process itself, without the SDK's sandbox.

The sandbox would import the module of a workflow again for each run of the workflow, and compile it where no compiled
file can be written (`PYTHONDONTWRITEBYTECODE`, a read-only file system). Even if it takes all modules from the process,
it is entered for each task and several times for each value: a sixth of a worker's own CPU. What it isolates are runs
that change globals: ours are constants.

It also finds calls that are not deterministic. Those are found before production: `workflows/ruff.toml` bans them in
the whole package, and the tests of workflows and the replay of recorded histories run in the sandbox.
"""

from __future__ import annotations

from typing import Final

from temporalio.worker import UnsandboxedWorkflowRunner

WORKFLOW_RUNNER: Final = UnsandboxedWorkflowRunner()
"""For every worker that has workflows."""
