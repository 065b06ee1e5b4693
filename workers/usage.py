"""What a process reports about API calls: how many it made, how many each org has left, and what is done about that."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from closedwon.salesforce.api.quota import Measure, measures
from closedwon.settings import Settings
from closedwon.telemetry.metrics import Metrics
from workers.connections import Connections

_EVERY: Final = 5.0
"""Seconds between two reports."""


async def report_usage(connections: Connections, settings: Settings, metrics: Metrics) -> None:
    """Set the metrics of all orgs again and again."""
    reported: Counter[str] = Counter()
    while True:
        for org in settings.orgs:
            client = connections.salesforce.get(org.id)
            if client is None:
                continue
            metrics.api_calls.add(client.calls - reported[org.name], {"org": org.name})
            reported[org.name] = client.calls
            if client.usage is not None:
                metrics.api_used.set(client.usage.used, {"org": org.name})
                metrics.api_limit.set(client.usage.max, {"org": org.name})
                taken = measures(client.usage, sweep_share=settings.sweep_share(org.name))
                for measure in Measure:
                    metrics.api_saving.set(int(measure in taken), {"org": org.name, "measure": measure})
        await asyncio.sleep(_EVERY)
