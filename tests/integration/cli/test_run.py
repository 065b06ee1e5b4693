"""The processes that do the work, as seen by the collector of their logs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from closedwon import names
from closedwon.demo.parts import program
from closedwon.ids import OrgId
from tests.integration.cli.conftest import Installation
from tests.support.handoff import until
from tests.support.intake import deliver, soap_message


@pytest.mark.parametrize("role", ["run", "worker", "subscriber"])
def test_a_process_that_cannot_start_says_so_in_its_log(role: str, installation: Installation, tmp_path: Path) -> None:
    """The last entry has the cause and the hint, and is JSON as all before it; the exit code is 1."""
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


async def test_an_intake_process_holds_what_any_sender_can_push_to(
    installation: Installation, tmp_path: Path, temporal_server: WorkflowEnvironment
) -> None:
    """It runs alone: it finds that itself, before it listens, and reports it for the alert."""
    opened = "[intake]\nport = 0\nproxies = ['10.0.0.0/8']\n\n[[orgs]]"
    text = installation.settings.replace("[[orgs]]", opened, 1)
    file = tmp_path / "closedwon.toml"
    file.write_text(text.replace('events = ["/event/Order_Requested__e"]', "outbound = {}"), encoding="utf-8")
    org = tomllib.loads(text)["orgs"][0]["id"]
    log = tmp_path / "intake.log"
    hold = temporal_server.client.get_workflow_handle(names.hold_workflow_id("intake", OrgId(org)))
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            program("closedwon"),
            "intake",
            "--config",
            str(file),
            env=os.environ | installation.environment | {"CLOSEDWON_TELEMETRY__PORT": "0"},
            stderr=output,
        )
    try:
        await until(lambda: "intake at http" in log.read_text("utf-8") or process.returncode is not None)
        assert (await hold.describe()).status is WorkflowExecutionStatus.RUNNING
        await hold.terminate()
        await temporal_server.client.get_workflow_handle(names.encryption_key_workflow_id("2026-11")).terminate()
        entries = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
        messages = [entry["message"] for entry in entries]
        (held,) = [place for place, message in enumerate(messages) if message.startswith("held: org production")]
        (listens,) = [place for place, message in enumerate(messages) if message.startswith("intake at http")]
        assert held < listens
        address = messages[listens].split()[2].rstrip(",")
        status, _ = await deliver(address, soap_message(OrgId(org), [installation.won]), route="won-deals")
        assert 503 == status
    finally:
        process.terminate()
        assert 0 == await process.wait(), log.read_text("utf-8")
