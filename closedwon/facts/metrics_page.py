"""Figures that only the workers know, read from their `/metrics`: API calls of each org, lag of each channel."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from closedwon.network.failures import NetworkError
from closedwon.network.http import Http

_LINE: Final = re.compile(r"^closedwon_(\w+)\{([^}]*)\} ([-+.\deE]+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_PATIENCE: Final = timedelta(seconds=2)


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
    async with Http(timeout=_PATIENCE) as http:
        texts = await asyncio.gather(*(_text(http, address) for address in addresses))
    for name, labels, value in (sample for text in texts for sample in _samples(text)):
        if name == "salesforce_api_used":
            found.api_used[labels["org"]] = int(value)
        elif name == "salesforce_api_limit":
            found.api_limit[labels["org"]] = int(value)
        elif name == "cursor_lag_seconds":
            key = labels["org"], labels["channel"]
            found.lag[key] = max(value, found.lag.get(key, 0))  # one that reads no more says 0
    return found


async def _text(http: Http, address: str) -> str:
    try:
        reply = await http.call("GET", address)
    except NetworkError:
        return ""
    return reply.body.decode(errors="replace") if reply.ok else ""


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for name, labels, value in _LINE.findall(text):
        yield name, dict(_LABEL.findall(labels)), float(value)
