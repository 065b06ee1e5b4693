"""The demo as a newcomer runs it."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from closedwon.demo.parts import program
from closedwon.emulators.salesforce.connection import read_connection

_DEALS = """
SELECT o.Id, o.Name, o.Amount, o.ERP_Order_Number__c AS number, o.ERP_Order_Key__c AS "key", a.Name AS customer,
    (SELECT max(Discount) FROM OpportunityLineItem WHERE OpportunityId = o.Id) AS discount
FROM Opportunity o JOIN Account a ON a.Id = o.AccountId WHERE o.IsWon ORDER BY o.Id
"""
AGREE = {"waiting": 0, "cancelled": 0, "duplicates": 0, "missing": 0}


def demo(data_dir: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run it to its end; return how it ended and its summary."""
    command = [program("closedwon"), "demo", "--data-dir", str(data_dir), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended, json.loads((data_dir / "summary.json").read_text(encoding="utf-8"))


def rows(database: Path, query: str) -> list[dict[str, Any]]:
    """What a database of the demo holds, read without any code of the demo or of Closedwon."""
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def assert_every_deal_has_its_own_order_of_its_own_total(world: Path, deals: int) -> None:
    """Salesforce's amounts and the ERP's, side by side; discounts, a renewal and a tab are among the deals."""
    (org,) = rows(world / "org" / "org.sqlite3", "SELECT value FROM meta WHERE key = 'org_id'")
    won = rows(world / "org" / "org.sqlite3", _DEALS)
    orders = rows(world / "stub" / "orders.sqlite", "SELECT idempotency_key, amount FROM orders")

    assert {f"{org['value']}:{one['Id']}": pytest.approx(one["Amount"], abs=0.02) for one in won} == {
        one["idempotency_key"]: float(one["amount"]) for one in orders
    }
    assert deals == len(won) == len({one["number"] for one in won})
    assert any(one["discount"] for one in won)
    assert any("\t" in one["customer"] for one in won)
    renewals = [one for one in won if one["Name"].endswith(", renewal")]
    assert renewals
    assert {f"{org['value']}:{one['Id']}" for one in renewals} == {one["key"] for one in renewals}


def test_a_killed_worker_neither_loses_nor_duplicates_an_order(tmp_path: Path) -> None:
    """Five deals are won, the worker is killed with orders half-way, and all systems agree; also after a second run.

    Some have discounts, one customer's name has a tab, and one deal is cloned from another with its order's number,
    status and key: each has its own order of its own total.
    """
    ended, summary = demo(tmp_path, "--deals", "5", "--erp", "stub", "--kill")

    assert "got SIGKILL with" in ended.stdout
    assert "To see it survive a crash" not in ended.stdout
    assert {"won": 5, "ordered": 5, "written_back": 5, "totals_right": 5, **AGREE}.items() <= summary.items()
    assert 0 < summary["median_s"] <= summary["p95_s"]

    _, summary = demo(tmp_path, "--deals", "2", "--erp", "stub")

    assert {"won": 2, "ordered": 2, "written_back": 2, "totals_right": 2, **AGREE}.items() <= summary.items()
    assert {"won": 7, "ordered": 7, "written_back": 7, **AGREE} == summary["all_runs"]
    assert_every_deal_has_its_own_order_of_its_own_total(tmp_path / "stub", 7)


def _mute(org: Path) -> None:
    """Let the bus deliver nothing: by HTTP, for the command takes longer to start than a deal to be won."""
    connection = read_connection(org)
    assert connection is not None
    headers = {"Authorization": f"Bearer {connection.admin_token}"}
    requests.post(f"{connection.url}/_admin/faults/mute", json={}, headers=headers, timeout=60).raise_for_status()


def test_a_run_completes_the_deals_of_an_interrupted_one_and_counts_its_own(tmp_path: Path) -> None:
    """Ctrl-C while deals are half-way: their orders are made at the next run, which is none the worse for it."""
    command = [program("closedwon"), "demo", "--data-dir", str(tmp_path), "--deals", "5", "--erp", "stub"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as broken_off:
        assert broken_off.stdout is not None
        for line in broken_off.stdout:
            if line.startswith("org is ready"):
                _mute(tmp_path / "stub" / "org")
            if re.match("won [2-5]", line):
                broken_off.send_signal(signal.SIGINT)
                break
        broken_off.communicate()
    assert 130 == broken_off.returncode

    _, summary = demo(tmp_path, "--deals", "2", "--erp", "stub")

    assert {"won": 2, "ordered": 2, "written_back": 2, "totals_right": 2, **AGREE}.items() <= summary.items()
    assert 4 <= summary["all_runs"]["written_back"]


@pytest.mark.parametrize("channel", ["outbound", "callout"])
def test_pushed_deals_survive_a_killed_worker(tmp_path: Path, channel: str) -> None:
    """The org sends outbound messages, or Apex calls, instead of publishing events; all three systems still agree."""
    _, summary = demo(tmp_path, "--deals", "5", "--erp", "stub", "--channel", channel, "--kill")

    assert {"won": 5, "ordered": 5, "written_back": 5, "totals_right": 5, **AGREE}.items() <= summary.items()


@pytest.mark.slow
def test_deals_become_sales_in_a_real_erp(tmp_path: Path) -> None:
    """The same with Tryton, from an empty data dir: every won deal is a confirmed sale, and has its number."""
    _, summary = demo(tmp_path, "--deals", "4", "--erp", "tryton")

    assert {"won": 4, "ordered": 4, "written_back": 4, "totals_right": 4, **AGREE}.items() <= summary.items()
