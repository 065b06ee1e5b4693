"""Servers of one's own machine that cannot start, or are not there, say why in a sentence."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from closedwon.cli.main import app
from closedwon.cli.org_fault import app as faults
from closedwon.demo.parts import PartError
from closedwon.demo.stack import Stack
from closedwon.emulators.salesforce.client import OrgClient
from closedwon.emulators.salesforce.server import SalesforceEmulator
from tests.support.salesforce import serving

Spoil = Callable[[Path], object]


@pytest.fixture(autouse=True)
def process_as_before() -> Iterator[None]:
    """Leave the test process as it was: a server takes its signals, and makes its files readable for its user only."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    mask = os.umask(0o077)
    yield
    os.umask(mask)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def file(name: str, text: str = "neither JSON nor a database") -> Spoil:
    """Put a file into the folder."""

    def spoil(folder: Path) -> None:
        folder.mkdir()
        (folder / name).write_text(text)

    return spoil


_NO_POSTGRES = "postgresql://me:hunter2@localhost:1"
UNFIT: list[tuple[str, Spoil, str]] = [
    ("org serve", Path.touch, "place: File exists"),
    ("org serve", file("org.toml", "flows = 5\npoll = 1"), "org.toml: flows: Input should be a valid tuple\n"),
    ("org serve", file("org.toml", "flows ="), "org.toml: not valid TOML: Invalid value"),
    ("org serve", file("connection.json"), "connection.json is not the file of an org; delete it"),
    ("org serve", file("org.sqlite3"), "cannot be used: file is not a database. Choose another --data-dir."),
    ("org win", file("connection.json"), "connection.json is not the file of an org; delete it"),
    ("test-erp stub", Path.touch, "place: File exists"),
    ("test-erp stub", file("connection.json"), "connection.json is not the file of a server; delete it"),
    ("test-erp stub", file("orders.sqlite"), "cannot be used: file is not a database. Choose another --data-dir."),
    ("test-erp tryton", Path.touch, "place: File exists"),
    (
        "test-erp tryton --postgres postgresql://me:hunter2@localhost:1",
        Path.mkdir,
        "PostgreSQL cannot be used: connection",
    ),
    (
        "test-erp tryton --postgres me:hunter2@localhost",
        Path.mkdir,
        "--postgres is not the address of a server: postgresql://",
    ),
]


@pytest.mark.parametrize(("command", "spoil", "expected"), UNFIT, ids=[f"{one[0]}: {one[2]}" for one in UNFIT])
def test_an_unfit_place_is_reported(tmp_path: Path, command: str, spoil: Spoil, expected: str) -> None:
    """A sentence with the place and the hint, exit code 1, no stack trace and no password."""
    place = tmp_path / "place"
    spoil(place)
    result = CliRunner().invoke(app, [*command.split(), "--data-dir", str(place)])
    assert (1, SystemExit) == (result.exit_code, type(result.exception))
    assert expected in result.output
    assert "hunter2" not in result.output


def test_a_demo_in_an_unfit_place_is_reported(tmp_path: Path) -> None:
    """Before anything is started."""
    (tmp_path / "place").touch()
    with pytest.raises(PartError, match="place/stub cannot be used: Not a directory; name another --data-dir"):
        Stack(tmp_path / "place" / "stub")


async def test_a_stranger_at_the_orgs_address_is_reported(tmp_path: Path) -> None:
    """An org that was killed has left its port to somebody else."""
    async with serving({}) as url:
        org = SalesforceEmulator(port=int(url.rpartition(":")[2]))
        (tmp_path / "connection.json").write_text(org.connection().model_dump_json())
        org.store.close()
        win = ["org", "win", "--data-dir", str(tmp_path)]
        result = await asyncio.to_thread(CliRunner().invoke, app, win)
    assert (1, SystemExit) == (result.exit_code, type(result.exception))
    assert "does not answer as an org" in result.output


async def test_a_deals_name_is_shown_as_it_is(tmp_path: Path) -> None:
    """What looks like markup is none."""
    async with SalesforceEmulator.running() as org:
        org.create("Opportunity", Name="Roof [/old] [b]", StageName="Prospecting", CloseDate="2026-01-31")
        (tmp_path / "connection.json").write_text(org.connection().model_dump_json())
        result = await asyncio.to_thread(CliRunner().invoke, app, ["org", "win", "--data-dir", str(tmp_path)])
    assert (0, True) == (result.exit_code, "Roof [/old] [b]" in result.output)


async def test_more_open_deals_than_a_page_holds_can_be_won() -> None:
    """Salesforce answers a query with 2,000 records at most, and where to read on."""
    async with SalesforceEmulator.running() as org, OrgClient.open(org.connection()) as client:
        org.seed(2_001)
        assert 2_001 == len(await client.open_deals(2_001))


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e300, 1e15, -1e15])
async def test_the_clock_does_not_leave_the_calendar(seconds: float) -> None:
    """The offset would be stored, and the org could never compute the time again."""
    async with SalesforceEmulator.running() as org, OrgClient.open(org.connection()) as client:
        with pytest.raises(Exception, match="bad arguments"):
            await client.admin("POST", "clock", {"advance_seconds": seconds})
        assert 0 == org.clock.offset.total_seconds()


async def test_every_fault_of_the_org_has_its_command(tmp_path: Path) -> None:
    """What the org can do wrong and what `closedwon org fault` offers are the same, and each is understood."""
    given = {
        "rest-error": ["UNKNOWN_EXCEPTION"],
        "record-error": ["UNABLE_TO_LOCK_ROW"],
        "fail-automation": ["50"],
        "read-lag": ["1.5"],
        "slow-writes": ["0.5"],
        "cometd-error": ["/meta/connect", "403::Oops"],
        "advice-interval": ["5"],
        "small-pages": ["200"],
    }
    async with SalesforceEmulator.running() as org, OrgClient.open(org.connection()) as client:
        (tmp_path / "connection.json").write_text(org.connection().model_dump_json())
        known = await client.admin("GET", "faults")
        assert {*known, "clock", "state"} == set(typer.main.get_group(faults).commands)
        for fault in known:
            line = ["org", "fault", fault, *given.get(fault, []), "--data-dir", str(tmp_path)]
            result = await asyncio.to_thread(CliRunner().invoke, app, line)
            assert 0 == result.exit_code, f"{fault}: {result.output}"
