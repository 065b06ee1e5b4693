"""A Salesforce emulator, a stub ERP and a Temporal server, as the commands of an operator meet them."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from temporalio.testing import WorkflowEnvironment
from typer.testing import CliRunner, Result

from closedwon.cli.main import app
from closedwon.emulators.ports import free_port
from closedwon.emulators.salesforce.client import OrgClient
from closedwon.emulators.salesforce.connection import Connection

EXAMPLE = Path(__file__).parents[3] / "closedwon.example.toml"


class Installation(NamedTuple):
    """Servers that run, and the settings that name them."""

    settings: str
    environment: dict[str, str]
    won: str
    """The id of a won Opportunity."""
    still_open: str
    """The id of an open one."""


Closedwon = Callable[..., Result]


@contextmanager
def serving(data_dir: Path, *command: str) -> Iterator[dict[str, Any]]:
    """Run a `closedwon` server until the test is over and yield its connection.json."""
    start = [sys.executable, "-c", "from closedwon.cli import main; main()", *command, "--data-dir", str(data_dir)]
    with (data_dir.parent / f"{data_dir.name}.log").open("w") as log:
        process = subprocess.Popen([*start, "--port", "0"], stdout=log, stderr=subprocess.STDOUT)
    try:
        connection = data_dir / "connection.json"
        while not connection.exists():
            assert process.poll() is None, Path(log.name).read_text()
            time.sleep(0.05)  # between two looks at the condition
        yield json.loads(connection.read_text())
    finally:
        process.terminate()
        assert 0 == process.wait()


@pytest.fixture(scope="module")
def installation(
    tmp_path_factory: pytest.TempPathFactory, temporal_server: WorkflowEnvironment
) -> Iterator[Installation]:
    """Start the servers, with one deal won and one open."""
    folder = tmp_path_factory.mktemp("installation")
    with (
        serving(folder / "org", "org", "serve", "--memory") as org,
        serving(folder / "stub", "test-erp", "stub") as erp,
    ):
        won, still_open = asyncio.run(_deals(Connection.model_validate(org)))
        example = EXAMPLE.read_text(encoding="utf-8")
        tryton = example[example.index("[[erps]]") : example.index("# An ERP behind")]
        stub = f'[[erps]]\nname = "stub"\nkind = "rest"\nurl = "{erp["url"]}"\ntoken = {{ env = "ERP_TOKEN" }}\n'
        settings = (
            example.replace(tryton, stub)
            .replace("00D5g000004Kx1XEAS", org["org_id"])
            .replace("https://example.my.salesforce.com", org["url"])
            .replace("3MVG9.example", org["client_id"])
            .replace('erp = "tryton" ', 'erp = "stub" ')
        )
        environment = {
            "SALESFORCE_CLIENT_SECRET": org["client_secret"],
            "ERP_TOKEN": erp["token"],
            "CLOSEDWON_CALLOUT_KEY": "a key that both ends know, made for one test",
            "CLOSEDWON_PATH_SECRET": "a-secret-segment-that-was-made-for-one-test",
            "PAYLOAD_KEY": base64.b64encode(bytes(32)).decode(),
            "TEMPORAL_ADDRESS": temporal_server.client.service_client.config.target_host,
        }
        yield Installation(settings, environment, won, still_open)


async def _deals(connection: Connection) -> tuple[str, str]:
    async with OrgClient.open(connection) as client:
        await client.admin("POST", "seed", {"opportunities": 2, "seed": 1})
        won, still_open = await client.open_deals(2)
        await client.win(won.id)
        return won.id, still_open.id


LONELY = (('name = "stub"', 'name = "lonely"'), ('erp = "stub" ', 'erp = "lonely" '))
"""Changes of the settings: an ERP that had no worker in any test; one that has just ended still counts for a minute."""


@pytest.fixture
def closedwon(installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Closedwon:
    """Return a function that runs a command with the installation's settings, changed by (old, new) pairs."""
    for name, value in installation.environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str, changes: tuple[tuple[str, str], ...] = ()) -> Result:
        text = installation.settings
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file = tmp_path / "closedwon.toml"
        file.write_text(text, encoding="utf-8")
        return CliRunner().invoke(app, [*arguments, "--config", str(file)])

    return run


@pytest.fixture
def unused_port() -> int:
    """Return a port on which no process listens."""
    return free_port()
