"""The org as a process: started, killed, started again, and used by the commands."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
import tomllib
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest
from typer.testing import CliRunner

from closedwon.cli.main import app
from closedwon.emulators.salesforce import Connection, read_connection
from closedwon.emulators.salesforce.client import OrgClient
from tests.integration.emulator.conftest import CHANNEL
from tests.integration.emulator.receiving import called, receiver_at, won
from tests.support.handoff import until
from tests.support.waiting import STALL

CLOSEDWON = (sys.executable, "-c", "from closedwon.cli import main; main()", "org")


class Served(NamedTuple):
    """A served org."""

    process: Process
    connection: Connection


@asynccontextmanager
async def serving(data_dir: Path, *options: str) -> AsyncIterator[Served]:
    """`closedwon org serve` until the block ends; ready when its output says so."""
    process = await asyncio.create_subprocess_exec(
        *CLOSEDWON, "serve", "--data-dir", str(data_dir), *options, stdout=PIPE, stderr=STDOUT
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), STALL)
        connection = read_connection(data_dir)
        assert connection is not None, line + await process.stdout.read()
        yield Served(process, connection)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.communicate()


async def run(*arguments: str) -> tuple[int, str]:
    """Exit code and output of a `closedwon org` command."""
    result = await asyncio.to_thread(CliRunner().invoke, app, ["org", *arguments])
    return result.exit_code, result.output


async def refused_to_serve(*options: str) -> str:
    """The output of a `closedwon org serve` that ends with exit code 1."""
    process = await asyncio.create_subprocess_exec(*CLOSEDWON, "serve", *options, stdout=PIPE, stderr=STDOUT)
    output, _ = await process.communicate()
    assert process.returncode == 1
    return output.decode()


async def test_killed_and_started_again(tmp_path: Path) -> None:
    """After a SIGKILL the org serves the same records and events on the same port with the same credentials."""
    async with serving(tmp_path, "--port", "0") as first:
        async with OrgClient.open(first.connection) as client:
            await client.admin("POST", "seed", {"opportunities": 5})
            for deal in await client.open_deals(3):
                await client.win(deal.id)
        first.process.kill()
        await first.process.wait()
    async with serving(tmp_path) as again:
        assert first.connection == again.connection.model_copy(update={"pid": first.connection.pid})
        async with OrgClient.open(again.connection) as client:
            assert len(await client.open_deals(10)) == 2
            assert len(await client.query("SELECT Id FROM Opportunity WHERE IsWon = true")) == 3
            state = await client.admin("GET", "state")
            again.process.send_signal(signal.SIGTERM)
            assert await again.process.wait() == 0
    assert state["last_replay_id"] > 2_000_000_000


async def test_a_kill_loses_no_acknowledged_win(tmp_path: Path) -> None:
    """Every win with a response before a SIGKILL has its event on the bus of the restarted org."""
    async with serving(tmp_path, "--port", "0") as first, OrgClient.open(first.connection) as client:
        await client.admin("POST", "seed", {"opportunities": 300})
        deals = await client.open_deals(300)
        answered: list[str] = []
        enough = asyncio.Event()

        async def win_all() -> None:
            for deal in deals:
                await client.win(deal.id)
                answered.append(deal.id)
                if len(answered) == 100:
                    enough.set()

        winning = asyncio.create_task(win_all())
        async with asyncio.timeout(STALL):
            await enough.wait()
        first.process.kill()
        await first.process.wait()
        with pytest.raises(aiohttp.ClientConnectionError):
            await winning
    async with serving(tmp_path) as again, OrgClient.open(again.connection) as client:
        won = {one["Id"] for one in await client.query("SELECT Id FROM Opportunity WHERE IsWon = true")}
        state = await client.admin("GET", "state")
        again.process.send_signal(signal.SIGTERM)
        await again.process.wait()
    assert set(answered) <= won
    assert len(won) <= len(answered) + 1
    published = _events(tmp_path)
    assert won == {event["payload"]["Opportunity_Id__c"] for event in published}
    assert state["last_replay_id"]


async def test_a_kill_loses_no_queued_message(tmp_path: Path) -> None:
    """After a SIGKILL, every acknowledged win is notified, by messages that waited or were being sent."""
    async with receiver_at() as receiver:
        receiver.open.clear()
        async with serving(tmp_path, "--port", "0") as first, OrgClient.open(first.connection) as client:
            await client.admin("POST", "definitions", won(receiver.url).model_dump(mode="json"))
            await client.admin("POST", "seed", {"opportunities": 30})
            deals = [deal.id for deal in await client.open_deals(30)]
            for deal in deals:
                await client.win(deal)
            await until(lambda: bool(receiver.messages))
            first.process.kill()
            await first.process.wait()
        begun = [one.id for message in receiver.messages for one in message.notifications]
        receiver.messages.clear()
        receiver.open.set()
        async with serving(tmp_path) as again, OrgClient.open(again.connection) as client:
            await until(lambda: 30 == sum(len(message.notifications) for message in receiver.messages))

            async def is_idle() -> bool:
                return bool((await client.admin("GET", "state"))["outbound_waiting"] == 0)

            await until(is_idle)
            again.process.send_signal(signal.SIGTERM)
            assert 0 == await again.process.wait()
        notified = {one.record: one.id for message in receiver.messages for one in message.notifications}

        assert set(deals) == set(notified)
        assert set(begun) <= set(notified.values())


def _events(data_dir: Path) -> list[dict[str, dict[str, str]]]:
    with closing(sqlite3.connect(data_dir / "org.sqlite3")) as database:
        rows = database.execute("SELECT data FROM event WHERE channel = ?", (CHANNEL,)).fetchall()
    return [json.loads(row[0]) for row in rows]


async def test_files_are_private_and_credentials_are_generated(tmp_path: Path) -> None:
    """Two data directories have different ids and secrets, in private files."""
    async with serving(tmp_path / "a", "--port", "0") as a, serving(tmp_path / "b", "--port", "0") as b:
        for name in ("org_id", "client_id", "client_secret", "sales_client_secret", "admin_token", "url"):
            assert getattr(a.connection, name) != getattr(b.connection, name)
        modes = {file.name: oct(file.stat().st_mode & 0o077) for file in (tmp_path / "a").iterdir()}
    assert {"0o0"} == set(modes.values()), modes


async def test_the_org_id_is_chosen_once(tmp_path: Path) -> None:
    """An org id can be set at the first start; another one later is an error with a hint."""
    async with serving(tmp_path, "--port", "0", "--org-id", "00DQy0000000001") as served:
        assert served.connection.org_id[:15] == "00DQy0000000001"
    output = await refused_to_serve("--data-dir", str(tmp_path), "--org-id", "00DQy0000000002")
    assert "use another --data-dir" in output


async def test_a_second_server_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    """It would take over `connection.json`; after the first one has ended, the directory is free again."""
    async with serving(tmp_path, "--port", "0") as served:
        said = await refused_to_serve("--data-dir", str(tmp_path), "--port", "0")
        assert "another process serves the org" in " ".join(said.split())
        assert served.connection == read_connection(tmp_path)
    async with serving(tmp_path) as again:
        assert again.connection.org_id == served.connection.org_id


async def test_the_commands_of_a_salesperson(tmp_path: Path) -> None:
    """Seed, win by count and by id print their results; a port in use and a stopped org are errors with a hint."""
    where = ("--data-dir", str(tmp_path))
    async with serving(tmp_path, "--port", "0") as served:
        assert (0, True) == _said(await run("seed", "--opportunities", "4", *where), "Added 4 open Opportunities")
        async with OrgClient.open(served.connection) as client:
            deals = await client.open_deals(4)
        code, output = await run("win", "--count", "2", *where)
        assert (0, True) == (code, all(f"{deal.amount:,.2f} EUR" in output for deal in deals[:2] if deal.amount))
        assert all(deal.id in output for deal in deals[:2])
        assert (0, True) == _said(await run("win", deals[3].id[:15], *where), deals[3].id)
        assert (1, True) == _said(await run("win", "006", *where), "not 15 or 18")
        assert (1, True) == _said(await run("win", "006000000000001AAA", *where), "this org has no Opportunity")
        deal = deals[2].id
        for command, said in (
            (("change", deal, "--discount", "12.5"), "Changed: "),
            (("change", deal, "--quantity", "7", "--discount", "0"), "Changed: "),
            (("clone", deals[0].id), "Copied: "),
            (("delete", deal), f"Deleted: {deal}"),
            (("undelete", deal), "Restored: "),
        ):
            assert (0, True) == _said(await run(*command, *where), said)
        assert (2, True) == _said(await run("change", deal, *where), "give --quantity, --discount or both")
        assert (1, True) == _said(await run("undelete", deal, *where), "not in the recycle bin")
        async with OrgClient.open(served.connection) as client:
            (customer,) = await client.query("SELECT Id, Name FROM Account ORDER BY Id LIMIT 1")
        assert (0, True) == _said(await run("move", deal, customer["Id"], *where), customer["Id"])
        assert (0, True) == _said(await run("fault", "lock-rows", "--times", "2", *where), "lock-rows: done")
        assert (1, True) == _said(await run("win", *where), "UNABLE_TO_LOCK_ROW")
        assert (0, True) == _said(await run("fault", "state", *where), '"record_error": 1')
        assert (0, True) == _said(await run("fault", "clear", *where), "clear: done")
        port = served.connection.url.rpartition(":")[2]
        other = ("--data-dir", str(tmp_path / "other"), "--port", port)
        assert "The port is in use" in await refused_to_serve(*other)
    assert (1, True) == _said(await run("win", *where), "No org answers at")
    assert (1, True) == _said(await run("win", "--data-dir", str(tmp_path / "none")), "No org was ever served")


async def test_the_commands_for_pushes(tmp_path: Path) -> None:
    """List, retry, delete, redirect and call; an unknown name or id is an error."""
    where = ("--data-dir", str(tmp_path))
    async with receiver_at() as receiver, serving(tmp_path, "--port", "0") as served:
        assert (0, True) == _said(await run("messages", "definitions", *where), "The org sends nothing")
        async with OrgClient.open(served.connection) as client:
            for definition in (won("http://localhost:9/"), called(receiver)):
                await client.admin("POST", "definitions", definition.model_dump(mode="json"))
        await run("seed", "--opportunities", "2", *where)
        await run("win", "--count", "2", *where)
        await until(lambda: 2 == sum(len(call.items) for call in receiver.calls))
        async with OrgClient.open(served.connection) as client:

            async def were_tried() -> bool:
                return [1, 1] == [one["attempts"] for one in await client.admin("GET", "messages")]

            await until(were_tried)
            first, second = await client.admin("GET", "messages")
        record = first["record"]
        assert (0, True) == _said(await run("messages", "definitions", *where), "StageName = Closed Won")
        assert (0, True) == _said(await run("messages", "list", *where), "ClientConnectorError")
        assert (0, True) == _said(await run("messages", "delete", second["id"], *where), "is off the queue")
        assert (1, True) == _said(await run("messages", "retry", second["id"], *where), "no notification")
        assert (0, True) == _said(await run("messages", "endpoint", "won", receiver.url, *where), receiver.url)
        assert (0, True) == _said(await run("messages", "retry", first["id"], *where), "is sent again now")
        await until(lambda: [[record]] == receiver.records)
        assert (0, True) == _said(await run("callout", "page", "called", record, *where), "HTTP 202")
        receiver.call_status = 503
        assert (1, True) == _said(await run("callout", "page", "called", record, *where), "HTTP 503: as scripted")
        receiver.call_status = 202
        assert (0, True) == _said(await run("callout", "trigger", "called", record, *where), "Queued as 04l")
        assert (0, True) == _said(await run("callout", "batch", "called", *where), "Queued 2 records")
        assert (1, True) == _said(await run("callout", "batch", "won", *where), "there is no callout won")
        await until(lambda: 7 == sum(len(call.items) for call in receiver.calls))
        assert (0, True) == _said(await run("messages", "list", *where), "Nothing waits")


def _said(result: tuple[int, str], text: str) -> tuple[int, bool]:
    code, output = result
    assert text in " ".join(output.split()), output
    return code, True


async def test_a_configuration_file(tmp_path: Path) -> None:
    """`org.toml` configures rules and fields; an error in it stops the start and names the file."""
    text = """
        poll_timeout = "20s"
        [[validation_rules]]
        on = "Opportunity"
        when = "StageName = 'Closed Won' AND Budget__c = null"
        message = "Name the budget first"
        [[custom_fields]]
        on = "Opportunity"
        name = "Budget__c"
    """
    assert tomllib.loads(text)
    (tmp_path / "org.toml").write_text(text)
    where = ("--data-dir", str(tmp_path))
    async with serving(tmp_path, "--port", "0"):
        await run("seed", "--opportunities", "1", *where)
        assert (1, True) == _said(await run("win", *where), "FIELD_CUSTOM_VALIDATION_EXCEPTION: Name the budget first")
    (tmp_path / "org.toml").write_text("poll_timeout = 20")
    output = await refused_to_serve(*where)
    assert "org.toml" in output
    assert "poll_timeout" in output
    assert 'write "20s"' in " ".join(output.split())
