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

from closedwon.demo.parts import program

_DEALS = """
SELECT o.Id, o.Name, o.Amount, o.ERP_Order_Number__c AS number, o.ERP_Order_Key__c AS "key", a.Name AS customer,
    (SELECT max(Discount) FROM OpportunityLineItem WHERE OpportunityId = o.Id) AS discount
FROM Opportunity o JOIN Account a ON a.Id = o.AccountId WHERE o.IsWon ORDER BY o.Id
"""
AGREE = {"cancelled": 0, "doubled": 0, "lost": 0}


def demo(data_dir: Path, *arguments: str, timeout: float) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run it to its end; return how it ended and its summary."""
    command = [program("closedwon"), "demo", "--data-dir", str(data_dir), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
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
    orders = rows(world / "light" / "orders.sqlite", "SELECT idempotency_key, amount FROM orders")

    assert {f"{org['value']}:{one['Id']}": pytest.approx(one["Amount"], abs=0.02) for one in won} == {
        one["idempotency_key"]: float(one["amount"]) for one in orders
    }
    assert deals == len(won) == len({one["number"] for one in won})
    assert any(one["discount"] for one in won)
    assert any("\t" in one["customer"] for one in won)
    renewals = [one for one in won if one["Name"].endswith(", renewal")]
    assert renewals
    assert {f"{org['value']}:{one['Id']}" for one in renewals} == {one["key"] for one in renewals}


@pytest.mark.timeout(240)
def test_a_killed_worker_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Five deals are won, the worker is killed with orders half-way, and the books agree; also after a second run.

    Some have discounts, one customer's name has a tab, and one deal is cloned from another with its order's number,
    status and key: each has its own order of its own total.
    """
    ended, summary = demo(tmp_path, "--deals", "5", "--erp", "light", "--kill", timeout=150)

    assert "got SIGKILL with" in ended.stdout
    assert "To see it survive a crash" not in ended.stdout
    assert {"won": 5, "ordered": 5, "written_back": 5, "totals_right": 5, **AGREE}.items() <= summary.items()
    assert 0 < summary["median_s"] <= summary["p95_s"]

    _, summary = demo(tmp_path, "--deals", "2", "--erp", "light", timeout=90)

    assert {"won": 2, "ordered": 2, "written_back": 2, "totals_right": 2, **AGREE}.items() <= summary.items()
    assert {"won": 7, "ordered": 7, "written_back": 7, **AGREE} == summary["all_runs"]
    assert_every_deal_has_its_own_order_of_its_own_total(tmp_path / "light", 7)


@pytest.mark.timeout(240)
def test_a_run_ends_what_a_broken_off_one_has_left_and_counts_its_own_deals(tmp_path: Path) -> None:
    """Ctrl-C while deals are half-way: their orders are made at the next run, which is none the worse for it."""
    command = [program("closedwon"), "demo", "--data-dir", str(tmp_path), "--deals", "5", "--erp", "light"]
    mute = [program("closedwon"), "org", "fault", "mute", "--data-dir", str(tmp_path / "light" / "org")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as broken_off:
        assert broken_off.stdout is not None
        for line in broken_off.stdout:
            if line.startswith("org is ready"):
                subprocess.run(mute, check=True)
            if re.match("won [2-5]", line):
                broken_off.send_signal(signal.SIGINT)
                break
        broken_off.communicate()
    assert 130 == broken_off.returncode

    _, summary = demo(tmp_path, "--deals", "2", "--erp", "light", timeout=150)

    assert {"won": 2, "ordered": 2, "written_back": 2, "totals_right": 2, **AGREE}.items() <= summary.items()
    assert 4 <= summary["all_runs"]["written_back"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("channel", ["outbound", "callout"])
def test_pushed_deals_survive_a_killed_worker(tmp_path: Path, channel: str) -> None:
    """The org sends outbound messages, or Apex calls, instead of publishing events; the books agree all the same."""
    _, summary = demo(tmp_path, "--deals", "5", "--erp", "light", "--channel", channel, "--kill", timeout=150)

    assert {"won": 5, "ordered": 5, "written_back": 5, "totals_right": 5, **AGREE}.items() <= summary.items()


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_deals_become_sales_in_a_real_erp(tmp_path: Path) -> None:
    """The same with Tryton, from an empty data dir: every won deal is a confirmed sale, and has its number."""
    _, summary = demo(tmp_path, "--deals", "4", "--erp", "tryton", timeout=450)

    assert {"won": 4, "ordered": 4, "written_back": 4, "totals_right": 4, **AGREE}.items() <= summary.items()
