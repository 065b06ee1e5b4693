"""Figures that only the workers know, read from their `/metrics`: API calls of each org, lag of each channel."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import aiohttp

_LINE: Final = re.compile(r"^closedwon_(\w+)\{([^}]*)\} ([-+.\deE]+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_PATIENCE: Final = aiohttp.ClientTimeout(total=2)


class ScrapedMetrics(NamedTuple):
    """The values; an org or channel is missing if no worker that responded reports it."""

    api_used: dict[str, int]
    """By the org's name."""
    api_limit: dict[str, int]
    lag: dict[tuple[str, str], float]
    """Seconds that the reader is behind, by the org's name and channel."""


async def read(addresses: Sequence[str]) -> ScrapedMetrics:
    """Ask them all; those that do not answer are passed over."""
    found = ScrapedMetrics({}, {}, {})
    async with aiohttp.ClientSession(timeout=_PATIENCE) as session:
        for text in await asyncio.gather(*(_text(session, address) for address in addresses)):
            for name, labels, value in _samples(text):
                if name == "salesforce_api_used":
                    found.api_used[labels["org"]] = int(value)
                elif name == "salesforce_api_limit":
                    found.api_limit[labels["org"]] = int(value)
                elif name == "cursor_lag_seconds":
                    key = labels["org"], labels["channel"]
                    found.lag[key] = max(value, found.lag.get(key, 0))  # one that reads no more says 0
    return found


async def _text(session: aiohttp.ClientSession, address: str) -> str:
    try:
        async with session.get(address) as response:
            return await response.text() if response.ok else ""
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return ""


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for name, labels, value in _LINE.findall(text):
        yield name, dict(_LABEL.findall(labels)), float(value)
