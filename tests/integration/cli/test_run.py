"""The processes that do the work, as whoever collects their logs meets them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from closedwon.demo.parts import program
from tests.integration.cli.conftest import Installation


@pytest.mark.parametrize("role", ["run", "worker", "subscriber"])
def test_a_process_that_cannot_start_says_so_in_its_log(role: str, installation: Installation, tmp_path: Path) -> None:
    """The last entry has the cause and the cure, and is JSON as all before it; the exit code is 1."""
    settings = tmp_path / "closedwon.toml"
    settings.write_text(installation.settings, encoding="utf-8")
    environment = installation.environment | {
        "TEMPORAL_PROFILE": "elsewhere",
        "CLOSEDWON_TELEMETRY__PORT": "0",
    }
    command = [program("closedwon"), role, "--config", str(settings)]
    ended = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )
    entries = [json.loads(line) for line in ended.stderr.splitlines()]

    assert (1, "") == (ended.returncode, ended.stdout)
    assert "error" == entries[-1]["level"]
    assert "Profile 'elsewhere' not found" in entries[-1]["message"]
    assert "TEMPORAL_CONFIG_FILE" in entries[-1]["message"]
