"""What a process reports before it hurts: limits of the orgs, expiry of certificates, age of keys, the clock.

`doctor` asks the same functions (`closedwon.facts`). Costs one API call per org and round, 96 a day and process.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio.client import Client
from temporalio.service import RPCError

from closedwon.errors import ClosedwonError
from closedwon.facts.clocks import clock_ahead
from closedwon.facts.expiries import key_ages, own_certificates, their_certificates
from closedwon.facts.org_limits import org_limits
from closedwon.settings import Settings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.key_checks import key_checks
from workers.connections import Connections

_log = logging.getLogger(__name__)

_EVERY: Final = timedelta(minutes=15)
_PATIENCE: Final = 10.0
"""Seconds for a handshake."""


async def report_limits(client: Client, connections: Connections, settings: Settings, metrics: Metrics) -> None:
    """Set the metrics now and again and again."""
    while True:
        await Limits(client, connections, settings, metrics).report()
        await asyncio.sleep(_EVERY.total_seconds())


class Limits:
    """One round."""

    def __init__(self, client: Client, connections: Connections, settings: Settings, metrics: Metrics) -> None:
        self._client = client
        self._connections = connections
        self._settings = settings
        self._metrics = metrics

    async def report(self) -> None:
        """Set all gauges; what gives no answer keeps its value. Ends with no error."""
        answers = await asyncio.gather(
            self._certificates(), self._keys(), self._orgs(), self._clocks(), return_exceptions=True
        )
        for error in answers:
            if isinstance(error, ClosedwonError | RPCError | OSError):
                _log.info("a limit is not known: %s", error if isinstance(error, ClosedwonError) else type(error))
            elif isinstance(error, Exception):
                # Frames only: the text of an unexpected exception may contain field values.
                frames = "".join(traceback.format_tb(error.__traceback__))
                _log.error("limits are not known: %s\n%s", type(error).__name__, frames)

    async def _certificates(self) -> None:
        theirs = await their_certificates(self._settings, patience=_PATIENCE)
        for one in (*own_certificates(self._settings), *theirs):
            self._metrics.certificate_expires_at.set(one.at.timestamp(), one.labels)

    async def _keys(self) -> None:
        now = datetime.now(UTC)
        for one in key_ages(self._settings, await key_checks(self._client)):
            self._metrics.key_age.set(max((now - one.since).total_seconds(), 0.0), {"key": one.name})

    async def _orgs(self) -> None:
        """Of the orgs to which this process logs in: one that gives no answer hides no other."""
        for org in self._settings.orgs:
            client = self._connections.salesforce.get(org.id)
            if client is None:
                continue
            try:
                limits = await org_limits(client)
            except ClosedwonError as error:
                _log.info("the limits of %s are not known: %s", org.name, error)
                continue
            for limit in limits:
                labels = {"org": org.name, "limit": limit.name}
                self._metrics.org_limit_used.set(limit.used, labels)
                self._metrics.org_limit_max.set(limit.max, labels)

    async def _clocks(self) -> None:
        for org in self._settings.orgs:
            ahead = await clock_ahead(org)
            if ahead is not None:
                self._metrics.clock_ahead.set(ahead.total_seconds(), {"org": org.name})
