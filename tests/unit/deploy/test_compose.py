"""The compose file: its parts exist, its commands are those of Closedwon, and what prepares the settings works."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from closedwon.cli.main import app
from closedwon.demo.parts import program
from closedwon.settings import Settings, Workers, load_codec, load_settings
from tests.support.waiting import until

FOLDER = Path(__file__).parents[3] / "deploy" / "compose"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"]
PROCESSES = ("worker", "subscriber", "codec")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_every_mounted_file_is_there() -> None:
    """Docker makes an empty folder of a file that is missing, and the service fails in a strange way."""
    sources = [volume.split(":")[0] for one in SERVICES.values() for volume in one.get("volumes", ())]
    files = [source for source in sources if source.startswith(".")]
    assert 5 < len(files)
    assert [] == [file for file in files if not (FOLDER / file).is_file()]


def test_services_wait_for_services_that_exist() -> None:
    """Also the network namespace that others share."""
    named = {name for one in SERVICES.values() for name in one.get("depends_on", ())}
    shared = {mode.partition(":")[2] for one in SERVICES.values() if ":" in (mode := one.get("network_mode", ""))}
    assert named | shared <= SERVICES.keys()
    for one in SERVICES.values():
        for name, condition in one.get("depends_on", {}).items():
            assert condition["condition"] != "service_healthy" or "healthcheck" in SERVICES[name]


@pytest.mark.parametrize("name", [*PROCESSES, "salesforce", "erp"])
def test_a_service_runs_a_command_that_exists(name: str) -> None:
    """With options that exist."""
    assert 0 == CliRunner().invoke(app, [*SERVICES[name]["command"], "--help"]).exit_code


def test_nothing_can_be_reached_from_another_machine() -> None:
    """Passwords are known, so every port is published to this machine only."""
    ports = [port for one in SERVICES.values() for port in one.get("ports", ())]
    assert 5 < len(ports)
    assert [] == [port for port in ports if not port.startswith("127.0.0.1:")]


def test_a_process_is_killed_later_than_its_calls_may_take() -> None:
    """A stop is graceful."""
    for name in PROCESSES:
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > Workers().shutdown_grace.total_seconds()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """A folder in which an org and a stub ERP run."""
    commands = (("org", "serve", "--data-dir", "org"), ("test-erp", "stub", "--data-dir", "stub"))
    running = [
        subprocess.Popen([program("closedwon"), *words, "--port", "0"], cwd=tmp_path, stderr=subprocess.DEVNULL)
        for words in commands
    ]
    yield tmp_path
    for process in running:
        process.terminate()
        process.wait()


async def test_the_settings_fit_what_runs(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Address, login and token are those of the org and the ERP; the encryption key stays from start to start."""

    async def both_run() -> bool:
        return all((served / name / "connection.json").exists() for name in ("org", "stub"))

    await until(both_run)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(served / "credentials"))

    async def prepared() -> Settings:
        assert 0 == (await asyncio.to_thread(run, sys.executable, str(FOLDER / "prepare.py"), str(served))).returncode
        return load_settings(served / "closedwon.toml")

    first, again = await prepared(), await prepared()
    assert first.encryption.keys == again.encryption.keys
    assert again.encryption.enabled
    assert load_codec(served / "closedwon.toml").codec.token is not None
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    command = (program("closedwon"), "config", "check", "--config", str(served / "closedwon.toml"))
    printed = (await asyncio.to_thread(run, *command)).stdout
    assert ["temporal"] == [line.split()[1] for line in printed.splitlines() if line.startswith("✗")], printed


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed")
def test_docker_understands_the_file() -> None:
    """Docker's own parser resolves it; needs its plugin compose, but no daemon."""
    if run("docker", "compose", "version").returncode:
        pytest.skip("docker has no plugin compose")
    done = run("docker", "compose", "--file", str(FOLDER / "compose.yaml"), "config", "--quiet")
    assert 0 == done.returncode, done.stderr
