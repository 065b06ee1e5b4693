"""The demo's page without a world: what it refuses, and what it says when no system answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from closedwon.demo import ErpKind
from closedwon.demo.page import DemoPage
from closedwon.demo.page.three import Flow, Order, Picture, Row
from closedwon.demo.stack import Stack
from closedwon.emulators.ports import free_port
from closedwon.emulators.salesforce.connection import Connection
from tests.support.forms import Forms


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Forms]:
    """The page of a world in which nothing runs."""
    stack = Stack(tmp_path, erp=ErpKind.STUB)
    stack.org.connection = Connection(
        url=f"http://localhost:{free_port()}",
        org_id="00DQy0000000001",
        client_id="",
        client_secret="",
        username="",
        private_key_file=None,
        sales_client_id="",
        sales_client_secret="",
        admin_token="",
        pid=1,
    ).model_dump()
    stack.erp.connection = {"url": f"http://localhost:{free_port()}"}
    stack.workers.clear()
    async with DemoPage.served(stack), aiohttp.ClientSession() as http:
        yield Forms(f"http://localhost:{stack.page_port}", http)


async def test_systems_that_do_not_answer_are_named(page: Forms) -> None:
    """The page stays, and a button says what is wrong."""
    shown = await page.open()
    assert "No answer from Salesforce and Temporal and the stub ERP" in shown.words
    assert "Salesforce does not answer" in (await page.press("win", count="10")).words


@pytest.mark.parametrize("action", ["win", "kill"])
async def test_other_sites_win_and_kill_nothing(page: Forms, action: str) -> None:
    """Not without the token, not from another site, not under another host's name."""
    token = (await page.open()).token
    assert 403 == (await page.send(action, {})).status
    assert 403 == (await page.send(action, {"token": f"{token}x"})).status
    assert 403 == (await page.send(action, {"token": token}, Sec_Fetch_Site="cross-site")).status
    assert 421 == (await page.send(action, {"token": token}, Host="rebound.example.com")).status
    assert 421 == (await page.open(Host="rebound.example.com")).status
    assert 405 == (await page.open(f"/_page/do/{action}?token={token}")).status


def _row(number: int, *, is_won: bool = True, orders: int = 1, written: bool = True, at: str = "") -> Row:
    return Row(
        id=f"006{number}",
        name="",
        amount="",
        stage="",
        is_won=is_won,
        number="L1" if written else "",
        modified_at=at,
        deal_url="",
        flow=Flow("", "", "", ""),
        orders=tuple(Order(f"L{one + 1}", "confirmed", "") for one in range(orders)),
    )


def test_a_number_counts_only_if_the_erp_has_it_for_this_deal() -> None:
    """A copied deal shows its original's number until its own order exists; two orders of a deal are a duplicate."""
    copied = _row(1, orders=0)
    picture = Picture((_row(2), copied, _row(3, orders=2), _row(4, written=False), _row(5, is_won=False, orders=0)))

    assert not copied.is_written
    assert (4, 3, 2, 2) == (picture.won, picture.ordered, picture.written, picture.under_way)
    assert 1 == picture.duplicates


def test_what_is_under_way_is_shown_first() -> None:
    """Deals that can be won, then those under way, then the others, the last changed first."""
    rows = (_row(1, at="1"), _row(2, at="2"), _row(3, written=False, at="0"), _row(4, is_won=False, orders=0))

    assert ["0064", "0063", "0062", "0061"] == [row.id for row in Picture(rows).shown()]
