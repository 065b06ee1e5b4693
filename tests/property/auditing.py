"""What the product's own audit reports about a world, for comparison with the oracle."""

from __future__ import annotations

import os
from collections import defaultdict
from unittest.mock import patch

from closedwon.settings import load_settings
from tests.property.world import Talk
from tests.support.audit import look
from workers.connections import Connections


async def findings(talk: Talk) -> dict[str, list[str]]:
    """The kinds of disagreement that the audit reports, by record."""
    with patch.dict(os.environ, talk.world.environment()):
        settings = load_settings(talk.world.config)
    async with Connections(settings) as connections:
        report = await look(settings, connections, talk.client)
    found: defaultdict[str, list[str]] = defaultdict(list)
    for each in (*report.findings, *report.under_way):
        found[each.record].append(each.kind.value)
    return found
