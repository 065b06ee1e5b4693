"""Workflow code is checked for calls that would differ when Temporal replays it, before it runs anywhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAD = '"""What a workflow does."""\n\nfrom __future__ import annotations\n\n'


def _findings(code: str, path: str) -> str:
    """What the linter says of a module with this code at this path."""
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", f"--stdin-filename={path}", "-"]
    return subprocess.run(command, input=_HEAD + code, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize(
    "code",
    [
        "from datetime import UTC, datetime\n\nNOW = datetime.now(UTC)\n",
        "import time\n\nNOW = time.time()\n",
        "from time import monotonic\n\nNOW = monotonic()\n",
        "import uuid\n\nID = uuid.uuid4()\n",
        "import random\n\nCHANCE = random.random()\n",
        "import os\n\nHOME = os.environ\n",
        "import asyncio\n\nWAIT = asyncio.wait\n",
    ],
)
def test_a_call_that_is_not_deterministic_is_refused_in_workflows_only(code: str) -> None:
    """Production runs workflows without the SDK's check of such calls, so the linter checks them instead."""
    assert "TID251" in _findings(code, "workflows/example.py")
    assert "TID251" not in _findings(code, "activities/example.py")
