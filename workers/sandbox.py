"""In what workflow code runs: the SDK's sandbox, which takes modules from the process and imports none again.

By default the SDK imports the module of a workflow again for each run of the workflow, and compiles it where no
compiled file can be written (`PYTHONDONTWRITEBYTECODE`, a read-only file system). That costs a third of a worker's CPU,
and each cached workflow keeps a copy of its module. Copies only isolate runs that change globals: ours are constants.

The default also finds calls that are not deterministic. Those are found before production: `workflows/ruff.toml` bans
them in the whole package, and the tests of workflows and the replay of recorded histories keep the default.
"""

from __future__ import annotations

from typing import Final

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

WORKFLOW_RUNNER: Final = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_all_modules()
)
"""For every worker that has workflows."""
