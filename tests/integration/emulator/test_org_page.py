"""The org's page without a browser: what it shows, what its buttons do, and whom it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from closedwon.emulators.pages import warning
from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator, ValidationRule
from closedwon.emulators.salesforce.config import OutboundDefinition
from closedwon.ids import RecordId
from tests.support.forms import Forms

_UNKNOWN = RecordId("006000000000000")
_RULE = ValidationRule(on="Opportunity", when="Name = 'Forbidden'", message="Not this one")
_MESSAGE = OutboundDefinition(name="won-deals", endpoint="http://127.0.0.1:9/none")


@pytest.fixture
async def org() -> AsyncIterator[SalesforceEmulator]:
    """An org with a validation rule and an endpoint that does not answer."""
    config = OrgConfig(validation_rules=(_RULE,), outbound_messages=(_MESSAGE,))
    async with SalesforceEmulator.running(config=config) as running:
        yield running


@pytest.fixture
async def page(org: SalesforceEmulator) -> AsyncIterator[Forms]:
    """The page without JavaScript."""
    async with aiohttp.ClientSession() as http:
        yield Forms(org.url, http)


def _won(org: SalesforceEmulator) -> int:
    return len(org.query("SELECT Id FROM Opportunity WHERE IsWon = true"))


async def test_deals_are_won_one_by_one_and_many_at_once(org: SalesforceEmulator, page: Forms) -> None:
    """The buttons work without JavaScript, and the page shows stage, event and unread position."""
    first, *_ = org.seed(12)

    one = await page.press("win", record=first)
    assert "Closed as won" in one.words
    assert "Closed Won" in one.words
    assert 1 == _won(org)
    many = await page.press("win", count="10")
    assert "Closed as won: 10" in many.words
    assert 11 == _won(org)
    assert "Order_Requested__e" in many.words
    assert str(org.bus.last_replay_id()) in many.words
    assert "Close won: 10" not in (await page.open()).words  # the message is shown once


async def test_a_deal_is_edited_moved_cloned_reopened_deleted_and_restored(
    org: SalesforceEmulator, page: Forms
) -> None:
    """Each button of the deal's page does what its command does, and shows the result."""
    deal, *_ = org.seed(1)
    org.win(deal)
    org.update("Opportunity", deal, ERP_Order_Number__c="4711")
    line, *_ = org.query("SELECT Id, UnitPrice FROM OpportunityLineItem ORDER BY Id")

    await page.press("edit", record=deal, **{f"quantity-{line['Id']}": "40", f"discount-{line['Id']}": "50"})
    changed = org.get("OpportunityLineItem", line["Id"])
    assert (40, 50, 20 * line["UnitPrice"]) == (changed["Quantity"], changed["Discount"], changed["TotalPrice"])
    customer = org.create("Account", Name="Another customer")
    assert "Another customer" in (await page.press("move", record=deal, account=customer)).words
    copy = await page.press("clone", record=deal)
    assert {"4711"} == {one["ERP_Order_Number__c"] for one in org.query("SELECT ERP_Order_Number__c FROM Opportunity")}
    assert ", copy" in copy.words
    assert "Negotiation/Review" in (await page.press("reopen", record=deal)).words
    assert "in the recycle bin" in (await page.press("delete", record=deal)).words
    await page.press("restore", record=deal)
    assert not org.get("Opportunity", deal)["IsWon"]


async def test_what_the_org_refuses_is_shown_and_changes_nothing(org: SalesforceEmulator, page: Forms) -> None:
    """A validation rule, a number that is not one, an unknown record: a sentence, no error page, nothing changed."""
    deal, *_ = org.seed(1)
    org.store.db.execute("UPDATE Opportunity SET Name = 'Forbidden'")
    line, *_ = org.query("SELECT Id, Quantity FROM OpportunityLineItem")

    assert "Not this one" in (await page.press("win", record=deal)).words
    wrong = {f"quantity-{line['Id']}": "x"}
    assert "Quantity must be a number" in (await page.press("edit", record=deal, **wrong)).words
    assert "count is a number from 1 to 100" in (await page.press("win", count="101")).words
    assert "Not done" in (await page.press("win", record="nonsense")).words
    assert "The org refuses" in (await page.press("reopen", record=_UNKNOWN)).words
    assert 0 == _won(org)
    assert line["Quantity"] == org.get("OpportunityLineItem", line["Id"])["Quantity"]


async def test_a_failed_message_is_shown_and_sent_again(org: SalesforceEmulator, page: Forms) -> None:
    """The failed list has the problem; Retry makes the message wait again, Remove takes it away."""
    org.win(org.seed(1)[0])
    (message,) = org.outbox.queued()
    org.outbox.record_result([message], "HTTP 500: broken", is_permanent=True)

    shown = await page.open()
    assert "1 failed" in shown.words
    assert "HTTP 500: broken" in shown.words
    assert "0 failed" in (await page.press("retry", message=message.id)).words
    assert not org.outbox.queued()[0].failed
    await page.press("discard", message=message.id)
    assert [] == org.outbox.queued()


async def test_faults_are_turned_on_and_off_while_the_org_is_down(org: SalesforceEmulator, page: Forms) -> None:
    """The page works when nothing else does, and names the armed faults."""
    assert "Faults on" not in (await page.open()).words
    assert "Faults on: down" in (await page.press("fault", fault="down")).words
    assert "lost answer (3)" in (await page.press("fault", fault="lose-answers", times="3")).words
    assert "Not done" in (await page.press("fault", fault="lose-answers", times="many")).words
    assert "unknown fault" in (await page.press("fault", fault="__class__")).words
    assert org.faults.is_down
    await page.press("fault", fault="clear")
    assert not any(org.faults.armed().values())


async def test_nothing_changes_without_the_token(org: SalesforceEmulator, page: Forms) -> None:
    """A form of another site does not know it, whatever else it sends."""
    deal, *_ = org.seed(1)
    fields = {"record": deal, "fault": "down"}

    for action in ("win", "delete", "fault", "add"):
        for token in ({}, {"token": ""}, {"token": "wrong"}, {"token": "ä"}):
            refused = await page.send(action, fields | token, Authorization=f"Bearer {org.credentials.admin_token}")
            assert 403 == refused.status
    assert (0, False) == (_won(org), org.faults.is_down)
    assert 1 == len(org.query("SELECT Id FROM Opportunity"))


async def test_a_request_that_the_browser_says_another_site_sends_is_refused(
    org: SalesforceEmulator, page: Forms
) -> None:
    """Even with the token."""
    org.seed(1)
    token = (await page.open()).token
    fields = {"token": token, "count": "1"}

    for site in ("cross-site", "same-site"):
        assert 403 == (await page.send("win", fields, Sec_Fetch_Site=site)).status
    assert 0 == _won(org)
    assert 200 == (await page.send("win", fields, Sec_Fetch_Site="same-origin")).status
    assert 1 == _won(org)


async def test_the_page_is_not_shown_under_the_name_of_another_host(org: SalesforceEmulator, page: Forms) -> None:
    """DNS rebinding: a site's own name leads to this machine, and its script would read the token."""
    org.seed(1)
    token = (await page.open()).token

    for host in ("rebound.example.com", "localhost.example.com", "127.0.0.1.example.com", "[", "", "10.0.0.1"):
        for path in ("/", "/_page/live", "/_page/static/style.css"):
            refused = await page.open(path, Host=host)
            assert 421 == refused.status
            assert token not in refused.text
        assert 421 == (await page.send("win", {"token": token, "count": "1"}, Host=host)).status
    assert 0 == _won(org)


async def test_the_page_is_shown_under_every_name_of_this_machine(page: Forms) -> None:
    """By name, by address, with and without a port."""
    for host in ("localhost", "LOCALHOST:1234", "127.0.0.1:80", "[::1]:80"):
        assert 200 == (await page.open(Host=host)).status


async def test_texts_of_deals_are_not_markup_and_links_are_web_addresses(org: SalesforceEmulator, page: Forms) -> None:
    """A name with a script is shown as text, and a link with a script is not a link."""
    deal, *_ = org.seed(1)
    org.update("Opportunity", deal, Name="<script>alert(1)</script>", StageName="Closed Won")
    org.update("Opportunity", deal, ERP_Order_Number__c='"><img src=x>', ERP_Order_Link__c="javascript:alert(1)")

    for path in ("/", f"/lightning/r/Opportunity/{deal}/view"):
        shown = await page.open(path)
        assert "<script>alert" not in shown.text
        assert "<img" not in shown.text
        assert "<script>alert(1)</script>" in shown.words
        assert not [link for link in shown.links if link.startswith("javascript")]
    org.update("Opportunity", deal, ERP_Order_Link__c="https://erp.example.com/4711")
    assert "https://erp.example.com/4711" in (await page.open()).links


async def test_other_sites_can_neither_frame_the_page_nor_add_scripts(page: Forms) -> None:
    """The headers say so to the browser; scripts and styles are the page's own files."""
    shown = await page.open()

    policy = shown.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "no-store" == shown.headers["Cache-Control"]
    assert "Access-Control-Allow-Origin" not in shown.headers


async def test_a_poll_transfers_nothing_while_nothing_changes(org: SalesforceEmulator, page: Forms) -> None:
    """The answer is 204 until a deal changes."""
    deal, *_ = org.seed(1)
    shown = await page.open()
    seen = shown.text.partition("/_page/live?seen=")[2].partition('"')[0]

    assert 204 == (await page.open(f"/_page/live?seen={seen}")).status
    org.win(deal)
    assert "Closed Won" in (await page.open(f"/_page/live?seen={seen}")).words


async def test_unknown_pages_and_methods_are_refused(org: SalesforceEmulator, page: Forms) -> None:
    """No path leads outside of the page's own files, and reading changes nothing."""
    org.seed(1)
    for path in (
        "/_page/static/../guard.py",
        "/_page/static/%2e%2e/guard.py",
        "/_page/nothing",
        f"/lightning/r/Opportunity/{_UNKNOWN}/view",
        "/lightning/r/Opportunity/nonsense/view",
    ):
        assert 404 == (await page.open(path)).status, path
    assert 404 == (await page.open("/_page/do/win?count=1")).status
    assert 404 == (await page.press("nothing")).status
    assert 0 == _won(org)


async def test_an_org_that_listens_on_another_address_warns_and_knows_its_name() -> None:
    """Only the address that it is reached by, and names of this machine, lead to its page."""
    assert "" == warning("127.0.0.1") == warning("localhost") == warning("::1")
    assert "other machines" in warning("::")
    org = SalesforceEmulator(host="127.0.0.2")
    await org.start()
    try:
        async with aiohttp.ClientSession() as http:
            port = org.connection().url.rpartition(":")[2]
            page = Forms(f"http://127.0.0.2:{port}", http)
            assert 200 == (await page.open()).status
            assert 421 == (await page.open(Host="192.0.2.1")).status
    finally:
        await org.stop()
        org.store.close()
