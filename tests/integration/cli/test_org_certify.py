"""`closedwon org certify`: what is printed, the exit codes, and Ctrl-C."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from typer.testing import CliRunner, Result

from closedwon.cli.main import app
from tests.integration.cli.conftest import EXAMPLE, serving
from tests.support.waiting import until

Certify = Callable[..., Result]
_TOKEN: Final = "CLOSEDWON_PERSON_TOKEN"


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The connection.json of an org that is served."""
    with serving(tmp_path_factory.mktemp("org") / "org", "org", "serve", "--memory") as connection:
        yield connection


def _admin(org: dict[str, Any], method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"Authorization": f"Bearer {org['admin_token']}"}
    answer = requests.request(method, f"{org['url']}/_admin/{path}", json=body or {}, headers=headers, timeout=20)
    answer.raise_for_status()
    return answer.json()


@pytest.fixture
def environment(org: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file for the org; secrets and the person's token are in the environment."""
    form = {"grant_type": "client_credentials"}
    pair = (org["sales_client_id"], org["sales_client_secret"])
    token = requests.post(f"{org['url']}/services/oauth2/token", data=form, auth=pair, timeout=20).json()
    for name, value in {
        "SALESFORCE_CLIENT_SECRET": org["client_secret"],
        "TRYTON_KEY": "not used",
        "PAYLOAD_KEY": base64.b64encode(bytes(32)).decode(),
        _TOKEN: token["access_token"],
    }.items():
        monkeypatch.setenv(name, value)
    text = EXAMPLE.read_text(encoding="utf-8")
    for old, new in {
        "00D5g000004Kx1XEAS": org["org_id"],
        "https://example.my.salesforce.com": org["url"],
        "3MVG9.example": org["client_id"],
    }.items():
        text = text.replace(old, new)
    file = tmp_path / "closedwon.toml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture
def certify(environment: Path) -> Certify:
    """Return a function that runs the command."""

    def run(*arguments: str, name: str = "production") -> Result:
        return CliRunner().invoke(app, ["org", "certify", name, *arguments, "--config", str(environment)])

    return run


def test_the_report_is_a_table_with_a_verdict(certify: Certify) -> None:
    """What was seen, what is missing and what that means, what was deleted and what stays; restrictions do not fail."""
    result = certify("--yes", "--pause", "1s")

    assert 0 == result.exit_code, result.output
    assert "sandbox, deals are won by sales@" in result.stdout
    for word in ("login", "event", "write-back", "test deal(s) deleted, 0 record(s) left.", "on the bus for 72 hours"):
        assert word in result.stdout
    restricted = "minimal-user, outbound, outbound-certificate, tombstone, callout"
    assert f"Org production: usable with restrictions: {restricted}" == result.stdout.strip().splitlines()[-1]


def test_json_is_for_programs(certify: Certify, org: dict[str, Any]) -> None:
    """Nothing else is on the standard output; a failure is exit code 1."""
    _admin(org, "POST", "faults/forget-positions")
    result = certify("--yes", "--json", "--only", "replay", "--pause", "1s")
    _admin(org, "POST", "faults/clear")

    report = json.loads(result.stdout)
    assert (1, "not-safe", "production", 1) == (result.exit_code, report["verdict"], report["org"], report["deleted"])
    (check,) = report["checks"]
    assert ("replay", "failed") == (check["name"], check["outcome"])
    assert check["consequence"].startswith("Events of an outage are not read again")


@pytest.mark.parametrize(
    ("arguments", "name", "token", "text"),
    [
        (["--yes"], "produktion", None, "there is no org 'produktion'"),
        (["--yes", "--only", "evnt"], "production", None, "there is no check 'evnt'"),
        (["--yes"], "production", "", f"the environment variable {_TOKEN} is not set"),
        (["--yes"], "production", "00D!wrong", "does not accept the person's token"),
        (["--yes", "--route", "lost-deals"], "production", None, "there is no route 'lost-deals'"),
        ([], "production", None, "Nothing was created."),
    ],
)
def test_what_cannot_be_checked_is_exit_code_two(
    certify: Certify, monkeypatch: pytest.MonkeyPatch, arguments: list[str], name: str, token: str | None, text: str
) -> None:
    """With one sentence that names the option."""
    if token is not None:
        monkeypatch.setenv(_TOKEN, token)
    result = certify(*arguments, name=name)

    assert 2 == result.exit_code
    assert text in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_checks_and_deletes_the_test_deals(
    environment: Path, org: dict[str, Any], sent: signal.Signals
) -> None:
    """Ctrl-C, or the end of a pipeline: the report says so, and the exit code is 130."""
    _admin(org, "POST", "faults/drop-events", {"times": 100})
    start = [sys.executable, "-c", "from closedwon.cli import main; main()", "org", "certify", "production", "--yes"]
    process = await asyncio.create_subprocess_exec(
        *start,
        *("--only", "event", "--config", str(environment)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )

    def won() -> list[dict[str, Any]]:
        assert process.returncode is None
        return [one for one in _admin(org, "GET", "opportunities") if one["StageName"] == "Closed Won"]

    await until(won)
    process.send_signal(sent)
    output, errors = await process.communicate()
    _admin(org, "POST", "faults/clear")

    assert 130 == process.returncode, errors
    assert b"1 test deal(s) deleted, 0 record(s) left." in output
    assert b"Interrupted." in output
    assert [] == [one for one in _admin(org, "GET", "opportunities") if one["Name"].startswith("Closedwon cert")]
