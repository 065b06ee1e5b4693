"""A tab of headless Chromium for our own pages. It fails at what a browser would complain about."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

from playwright.async_api import FloatRect, Page, async_playwright, expect

from tests.support.tools import CHROMIUM

WIDE: Final = 1280
PHONE: Final = 390
_HEIGHT: Final = 900
_PATIENCE_MS: Final = 120_000
_IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"


@asynccontextmanager
async def tab(*, dark: bool = False, width: int = WIDE, is_cut: bool = False) -> AsyncIterator[Page]:
    """Open a tab. At its end, nothing may have been refused by the page's own policy, or have failed in its script.

    If the test cuts the connection (`is_cut`), the browser complains, and that is expected.
    """
    scheme: Literal["dark", "light"] = "dark" if dark else "light"
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(viewport={"width": width, "height": _HEIGHT}, color_scheme=scheme)
        context.set_default_timeout(_PATIENCE_MS)
        expect.set_options(timeout=_PATIENCE_MS)
        page = await context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
        await browser.close()
    assert is_cut or not complaints, complaints


async def shoot(page: Page, name: str, *, height: int = _HEIGHT) -> None:
    """Take a picture of the upper part; `make screenshots` keeps it for the documentation."""
    width = (page.viewport_size or {"width": WIDE})["width"]
    await page.set_viewport_size({"width": width, "height": max(height, _HEIGHT)})
    clip: FloatRect = {"x": 0, "y": 0, "width": width, "height": height}
    picture = await page.screenshot(animations="disabled", clip=clip)
    if os.environ.get("CLOSEDWON_KEEP_SCREENSHOTS"):
        (_IMAGES / f"{name}.png").write_bytes(picture)
