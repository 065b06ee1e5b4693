"""The pages of the org and of the demo in headless Chromium: as a person sees and presses them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Page, expect

from closedwon.demo.page import DemoPage
from closedwon.demo.stack import Stack
from closedwon.emulators.salesforce import SalesforceEmulator
from closedwon.ids import RecordId
from tests.support.browser import PHONE, shoot, tab
from tests.support.tools import needs_chromium

pytestmark = needs_chromium

_READABLE: Final = 4.5
"""The least contrast of text (WCAG 2.2, 1.4.3)."""
_UNNAMED: Final = """() => [...document.querySelectorAll('input:not([type=hidden]), select, button, a')]
    .filter(one => !(one.innerText || one.getAttribute('aria-label') || one.labels?.length))
    .map(one => one.outerHTML)"""
_FAINT: Final = """least => {
    const numbers = text => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
    const ground = one => {
        for (; one; one = one.parentElement) {
            const found = numbers(getComputedStyle(one).backgroundColor);
            if (found[3] !== 0) return found;
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll('main *, header *')].filter(one => one.checkVisibility() && one.innerText)
        .map(one => [one, [light(numbers(getComputedStyle(one).color)), light(ground(one))].sort()])
        .filter(([one, [dark, bright]]) => (bright + 0.05) / (dark + 0.05) < least && !one.disabled)
        .map(([one]) => one.outerHTML.slice(0, 200));
}"""


@pytest.fixture
async def org() -> AsyncIterator[SalesforceEmulator]:
    """An org with deals in every state that the page shows."""
    async with SalesforceEmulator.running() as running:
        first, second, third, *_ = running.seed(12)
        for record in (first, second, third):
            running.win(record)
        done = {"ERP_Order_Number__c": "SO-1", "ERP_Order_Status__c": "confirmed"}
        running.update("Opportunity", first, **done, ERP_Order_Link__c="https://erp.example.com/1")
        running.update("Opportunity", second, ERP_Order_Error__c="unknown-product: there is no product X")
        running.faults.read_lag(1)
        yield running


async def _is_as_wide_as_the_screen(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


async def test_a_deal_is_won_by_keyboard_and_its_number_appears_without_a_reload(org: SalesforceEmulator) -> None:
    """The focus stays where it was when the page changes, and the result is announced."""
    (deal,) = (RecordId(one["Id"]) for one in org.query("SELECT Id FROM Opportunity WHERE IsClosed = false LIMIT 1"))
    async with tab() as page:
        await page.goto(org.url)
        await page.get_by_role("button", name="Close one as won").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("Closed as won: 1")
        await expect(page.get_by_role("button", name="Close one as won")).to_be_focused()
        row = page.locator(f"#row-{deal}")
        await expect(row).to_contain_text("waits for its order")

        await row.get_by_role("link").focus()
        org.update("Opportunity", deal, ERP_Order_Number__c="SO-4711", ERP_Order_Status__c="confirmed")

        await expect(row).to_contain_text("✔ confirmed")
        await expect(row).to_contain_text("SO-4711")
        await expect(row.get_by_role("link").first).to_be_focused()
        assert org.get("Opportunity", deal)["IsWon"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_every_text_is_readable_and_every_control_has_a_name(org: SalesforceEmulator, *, dark: bool) -> None:
    """On the org's page and on a deal's, with the faults open, at the width of a screen and of a phone."""
    async with tab(dark=dark) as page:
        await page.goto(org.url)
        await page.locator("#faults summary").click()
        for width in (1280, PHONE):
            await page.set_viewport_size({"width": width, "height": 900})
            assert await _is_as_wide_as_the_screen(page)
        assert [] == await page.evaluate(_UNNAMED)
        assert [] == await page.evaluate(_FAINT, _READABLE)
        await page.locator("td a[id^=deal-]").first.click()
        await expect(page.get_by_role("button", name="Save the lines")).to_be_visible()
        assert await _is_as_wide_as_the_screen(page)
        assert [] == await page.evaluate(_UNNAMED)
        assert [] == await page.evaluate(_FAINT, _READABLE)


async def test_a_page_without_its_server_says_that_it_is_old(org: SalesforceEmulator) -> None:
    """An old picture is not mistaken for the present state; when the server is back, the page goes on."""
    async with tab(is_cut=True) as page:
        await page.goto(org.url)
        await expect(page.get_by_role("alert")).to_be_hidden()
        await page.route("**/_page/live*", lambda route: route.abort())
        await expect(page.locator(".gone")).to_be_visible()
        await page.unroute("**/_page/live*")
        await expect(page.locator(".gone")).to_be_hidden()


async def test_a_person_wins_deals_kills_a_worker_and_sees_that_nothing_was_lost(tmp_path: Path) -> None:
    """Real processes: the order appears, the worker dies with orders half-way, and each link leads to its system."""
    async with Stack(tmp_path, workers=1, subscribers=1) as stack, DemoPage.served(stack), tab() as page:
        await page.goto(f"http://localhost:{stack.page_port}")
        await page.get_by_role("button", name="Win a deal").click()
        await expect(page.get_by_role("table")).to_contain_text("✔ written back")
        await page.get_by_role("button", name="Win ten").click()
        await page.get_by_role("button", name="Kill a worker").click()
        await expect(page.locator(".story")).to_contain_text("got SIGKILL")
        await expect(page.get_by_role("table")).to_contain_text("▲ worker-1 killed")
        await shoot(page, "demo-page-killed", height=760)
        await expect(page.locator(".story")).to_contain_text("Nothing was lost, and nothing was ordered twice")
        await expect(page.locator(".story")).to_contain_text("won 11, ordered 11, written back 11, duplicates 0")
        await shoot(page, "demo-page", height=760)

        to_flow = await page.locator("a[id^=flow-]").first.get_attribute("href") or ""
        found = re.search(r"/workflows/order%3A(\w+)%40(\w+)/([^/]+)/user-metadata$", to_flow)
        assert found is not None
        workflow = f"order:{found[1]}@{found[2]}"
        handle = (await stack.temporal.client()).get_workflow_handle(workflow, run_id=found[3])
        assert "OrderWorkflow" == (await handle.describe()).workflow_type
        order = page.locator(f"#row-{found[1]} a[id^=order-]")
        number = await order.inner_text()
        await order.click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text(number)
        await page.go_back()
        await page.locator(f"#deal-{found[1]}").click()
        await expect(page.locator("dl")).to_contain_text(number)
        await shoot(page, "deal-page", height=700)
        await page.get_by_role("link", name="All deals").click()
        await expect(page.locator("body")).to_contain_text("● connected")
        await shoot(page, "org-page", height=1500)
