"""`closedwon org list` and `closedwon org show`: a person sees that the number is back on the deal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from closedwon.cli.main import app
from closedwon.emulators.salesforce import SalesforceEmulator
from closedwon.emulators.salesforce.connection import write_connection
from closedwon.ids import RecordId


@pytest.fixture
async def org(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SalesforceEmulator]:
    """A served org with one deal that was written back, one with an error, and two open ones."""
    monkeypatch.setenv("COLUMNS", "160")
    async with SalesforceEmulator.running() as running:
        done, wrong, *_ = running.seed(4)
        running.win(done)
        running.update("Opportunity", done, ERP_Order_Number__c="SO-4711", ERP_Order_Status__c="confirmed")
        running.win(wrong)
        running.update("Opportunity", wrong, ERP_Order_Error__c="no product \x1b[31mX")
        write_connection(tmp_path, running.connection())
        yield running


async def _run(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    result = await asyncio.to_thread(CliRunner().invoke, app, ["org", *arguments, "--data-dir", str(tmp_path)])
    return result.exit_code, result.output


@pytest.mark.usefixtures("org")
async def test_deals_are_listed_with_what_was_written_back(tmp_path: Path) -> None:
    """The last changed first, by stage, as many as wanted; an error is marked."""
    code, output = await _run(tmp_path, "list")
    assert 0 == code
    assert "SO-4711" in output
    assert "confirmed" in output
    assert "▲ error" in output
    code, output = await _run(tmp_path, "list", "--stage", "closed won", "--limit", "1")
    assert "SO-4711" not in output
    assert "1 more" in output
    assert "No Opportunity found" in (await _run(tmp_path, "list", "--stage", "Nothing"))[1]
    code, output = await _run(tmp_path, "list", "--json")
    assert ["SO-4711"] == [deal["ERP_Order_Number__c"] for deal in json.loads(output) if deal["ERP_Order_Number__c"]]


async def test_a_deal_is_shown_and_its_texts_do_not_move_the_cursor(org: SalesforceEmulator, tmp_path: Path) -> None:
    """Number, status, link and error; control characters of a text are replaced."""
    done, wrong, *_ = (RecordId(one["Id"]) for one in org.query("SELECT Id FROM Opportunity ORDER BY Id"))

    assert "SO-4711" in (await _run(tmp_path, "show", done[:15]))[1]
    shown = (await _run(tmp_path, "show", wrong))[1]
    assert "no product" in shown
    assert "\x1b" not in shown
    assert wrong == json.loads((await _run(tmp_path, "show", wrong, "--json"))[1])["Id"]
    assert (1, True) == _said(await _run(tmp_path, "show", "006000000000000"), "closedwon org list")
    assert (1, True) == _said(await _run(tmp_path, "show", "nonsense"), "not 15 or 18")


def _said(result: tuple[int, str], text: str) -> tuple[int, bool]:
    return result[0], text in " ".join(result[1].split())


def test_every_command_takes_the_short_option_for_help() -> None:
    """As most commands of a terminal do."""
    for words in ([], ["org"], ["org", "list"], ["orders", "show"]):
        assert "Usage:" in CliRunner().invoke(app, [*words, "-h"]).output
