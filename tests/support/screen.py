"""Temporal's UI in headless Chromium: what an operator sees and presses."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from playwright.async_api import FloatRect, Locator, Page, ViewportSize, async_playwright, expect

from tests.support.tools import CHROMIUM

_IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
_PATIENCE_MS: Final = 20_000
_SIZE: Final[ViewportSize] = {"width": 1500, "height": 800}


class Screen:
    """One tab on Temporal's UI."""

    def __init__(self, page: Page, ui: str) -> None:
        self.page = page
        self._ui = f"{ui}/namespaces/default"

    async def list(self, query: str) -> None:
        """Open the list of workflows that a query finds: what a saved view does."""
        await self.page.goto(f"{self._ui}/workflows?query={quote(query)}")

    async def workflow(self, workflow_id: str, run_id: str, tab: str) -> None:
        """Open one tab of a workflow: `timeline`, `user-metadata`, `pending-activities`."""
        await self.page.goto(f"{self._ui}/workflows/{quote(workflow_id)}/{run_id}/{tab}")

    async def choose_columns(self, *names: str) -> None:
        """Let the list show these search attributes in place of run id, type and times."""
        await self.page.get_by_test_id("workflows-summary-table-configuration-button").click()
        for name in ("Run ID", "Type", "Start", "End"):
            await self.page.get_by_test_id(f"orderable-list-item-{name}-remove-button").click()
        for name in names:
            await self.page.get_by_test_id(f"orderable-list-item-{name}-add-button").click()
        await self.page.get_by_test_id("drawer-close-button").click()
        await expect(self.page.get_by_text("Configure Workflows Table")).to_be_hidden()

    async def sees(self, *texts: str) -> None:
        """Wait until all of these can be read on the page."""
        for text in texts:
            await expect(self.page.locator("body")).to_contain_text(text, ignore_case=True, timeout=_PATIENCE_MS)

    async def reads_details(self, *texts: str) -> None:
        """Wait until all of these can be read in the current details, which are a frame of their own."""
        details = self.page.frame_locator("iframe").last.locator("body")
        for text in texts:
            await expect(details).to_contain_text(text, ignore_case=True, timeout=_PATIENCE_MS)

    async def list_signals(self) -> None:
        """Open the dialog that sends signals, and its list of them."""
        await self._list("Send a Signal", "#signal-select")

    async def list_updates(self) -> None:
        """Open the dialog that sends updates, and its list of them."""
        await self._list("Send an Update", "#update-select")

    async def _list(self, action: str, select: str) -> None:
        await self.page.get_by_role("button", name="More Actions").first.click()
        await self.page.get_by_role("menuitem", name=action).click()
        await self.dialog.locator(f"button:has({select})").click()

    async def choose(self, name: str, *, says: str) -> None:
        """Choose the one of that name and description from the list that is open."""
        choice = self.page.get_by_role("option", name=re.compile(rf"^\s*{name}\s"))
        await expect(choice).to_contain_text(says)
        await choice.click()

    async def types_input(self, json: str) -> None:
        """Type what is sent along."""
        await self.dialog.locator(".cm-content").first.click()
        await self.page.keyboard.type(json)

    @property
    def dialog(self) -> Locator:
        """The dialog that is open."""
        return self.page.locator("dialog[open]")

    async def submit(self) -> None:
        """Press the dialog's button, and wait for the dialog to go."""
        await self.dialog.get_by_role("button", name="Submit").click()
        await expect(self.dialog).to_have_count(0)

    async def shoot(self, name: str, *, height: int = _SIZE["height"]) -> None:
        """Take a picture of the upper part; `make screenshots` keeps it for the documentation."""
        await self.page.set_viewport_size({"width": _SIZE["width"], "height": max(height, _SIZE["height"])})
        clip: FloatRect = {"x": 0, "y": 0, "width": _SIZE["width"], "height": height}
        picture = await self.page.screenshot(animations="disabled", clip=clip)
        if os.environ.get("CLOSEDWON_KEEP_SCREENSHOTS"):
            (_IMAGES / f"{name}.png").write_bytes(picture)


@asynccontextmanager
async def screen(ui: str) -> AsyncIterator[Screen]:
    """Open a browser for the UI at this address."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(viewport=_SIZE, timezone_id="UTC")
        context.set_default_timeout(_PATIENCE_MS)
        yield Screen(await context.new_page(), ui)
        await browser.close()
