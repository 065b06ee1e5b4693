"""The units for systemd: valid, confined, patient when they stop, and with the secrets of their role only."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from closedwon import durations
from closedwon.cli import run
from closedwon.cli.main import app
from closedwon.demo.parts import program
from closedwon.settings import Workers, load_codec
from closedwon.settings.values import CREDENTIALS, UnreadSecretError

FOLDER = Path(__file__).parents[3] / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
NAMES = [unit.stem.removeprefix("closedwon-") for unit in UNITS]
HIGHEST_EXPOSURE = 2.0
SECRETS = {
    "SALESFORCE_CLIENT_SECRET": "salesforce-secret",
    "TRYTON_KEY": "erp-token",
    "PAYLOAD_KEY": "payload-key",
    "CLOSEDWON_CALLOUT_KEY": "callout-key",
    "CLOSEDWON_PATH_SECRET": "path-secret",
    "CODEC_TOKEN": "codec-token",
}
PUSHES = """
[intake]
[codec]
token = { env = "CODEC_TOKEN" }
"""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def values(unit: Path, key: str) -> list[str]:
    """The values of a key of a unit, in its order."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)


def analyze(*words: str | Path) -> str:
    """What systemd's own tool says of a unit."""
    command = ["systemd-analyze", "--no-pager", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=NAMES)
def test_systemd_understands_every_line(unit: Path, tmp_path: Path) -> None:
    """A misspelled key would be ignored, and with it a part of the sandbox."""
    text = unit.read_text(encoding="utf-8").replace("/opt/closedwon/bin/closedwon", program("closedwon"))
    (tmp_path / unit.name).write_text(text, encoding="utf-8")
    assert "" == analyze("verify", tmp_path / unit.name)


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=NAMES)
def test_a_unit_is_confined(unit: Path) -> None:
    """An attacker who takes over a process reaches little of the machine: systemd's score says so."""
    found = re.search(r"exposure level for \S+: ([\d.]+)", analyze("security", "--offline=true", unit))
    assert found
    assert HIGHEST_EXPOSURE >= float(found[1])


@pytest.mark.parametrize("unit", UNITS, ids=NAMES)
def test_a_unit_is_killed_later_than_its_calls_may_take(unit: Path) -> None:
    """A stop is graceful: systemd waits longer than `workers.shutdown_grace`."""
    (limit,) = values(unit, "TimeoutStopSec")
    assert durations.parse(f"{limit}s") > Workers().shutdown_grace


@pytest.mark.parametrize("unit", UNITS, ids=NAMES)
def test_a_unit_runs_a_command_that_exists(unit: Path) -> None:
    """The command line knows it."""
    (command,) = values(unit, "ExecStart")
    assert 0 == CliRunner().invoke(app, [*command.split()[1:], "--help"]).exit_code


@pytest.fixture
def settings(example: str, tmp_path: Path) -> Path:
    """The example with all channels, and each secret as a credential."""
    pushed = re.sub(r"^# (outbound|callouts) = ", r"\1 = ", example, flags=re.MULTILINE) + PUSHES
    text = re.sub(r'\{ env = "(\w+)" \}', lambda found: f'{{ credential = "{SECRETS.get(found[1], "x")}" }}', pushed)
    file = tmp_path / "closedwon.toml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that systemd makes for a unit."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv(CREDENTIALS, str(folder))
    return folder


def load_credentials(unit: Path, folder: Path) -> None:
    """Put there what the unit asks for, as systemd does."""
    for line in values(unit, "LoadCredential"):
        name, _, source = line.partition(":")
        assert f"closedwon.{name}" == source
        secret = (
            base64.b64encode(bytes(32)).decode() if name == "payload-key" else f"a-secret-by-the-name-of-{name}-1234"
        )
        (folder / name).write_text(secret, encoding="utf-8")


@pytest.mark.parametrize(("name", "role"), [("worker", "orders"), ("subscriber", "subscriber"), ("intake", "intake")])
def test_a_unit_has_the_secrets_that_its_process_needs(name: str, role: str, settings: Path, credentials: Path) -> None:
    """A process starts with the credentials of its unit; intake cannot log in to Salesforce or the ERP."""
    load_credentials(FOLDER / f"closedwon-{name}.service", credentials)
    loaded = run._settings(settings, role)
    assert (name == "intake") == (not (credentials / "salesforce-secret").exists())
    if name == "intake":
        assert loaded.erps[0].kind == "tryton"
        with pytest.raises(UnreadSecretError):
            loaded.erps[0].key.get_secret_value()


def test_the_codec_server_has_its_token_and_the_key(settings: Path, credentials: Path) -> None:
    """It starts with two secrets, and has no others."""
    load_credentials(FOLDER / "closedwon-codec.service", credentials)
    assert load_codec(settings).codec.token is not None
    assert {"codec-token", "payload-key"} == {file.name for file in credentials.iterdir()}
