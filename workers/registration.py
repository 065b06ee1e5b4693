"""What Temporal must have for a process to work: registered at its start, and again after Temporal has lost it.

Search attributes, the schedules of sweeps and audits, and the subscriptions are Temporal's own data. If its database is
replaced by an empty one, or by a backup that is older than they are, they are gone. The workers do not notice: they
poll queues that stay empty. So each running process looks for what its roles need (`workers.looking`). As long as all
is there, a look only reads. What is missing is registered again; several processes may do so at the same time. What is
there is left as it is: a schedule that a person has paused stays paused.

The orders that were open are lost, too, and nothing may ever mention them again: the event bus keeps events for 72
hours, outbound messages were acknowledged, and a first sweep looks back three days. How old they were is known only to
a process that has seen them. So a worker that finds another namespace of the same name opens a gap per route. It begins
the route's `sweep.lookback` before the oldest order that was unfinished when all was well, because notifications may be
late. Its sweep starts what has no order; an order that exists is found in the ERP by its key.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from temporalio.client import Client

from closedwon.model.sweeps import Gap, GapReason
from closedwon.settings import Route, Settings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.client import namespace_id
from closedwon.temporal.search_attributes import ensure_search_attributes, missing_search_attributes
from closedwon.temporal.sweeps import start_gap
from workers.keys import KeyWatch
from workers.subscriber import restore_subscriptions, start_subscriptions
from workers.sweeps import restore_schedules, sync_schedules

_log = logging.getLogger(__name__)


class Registration:
    """Registers what one process needs. `orders` and `subscriber` are its roles."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        metrics: Metrics,
        keys: KeyWatch,
        *,
        orders: bool,
        subscriber: bool,
    ) -> None:
        self._keys = keys
        self._client = client
        self._settings = settings
        self._metrics = metrics
        self._orders = orders
        self._subscriber = subscriber
        self._namespace = ""
        self._restored: list[str] = []
        """What was registered again and is not reported yet."""
        self._known_since = datetime.now(UTC)
        """When the oldest of the orders began that may be lost if Temporal is."""

    async def register(self) -> None:
        """Register all at the start of the process, as the settings say. Safe to repeat.

        The keys come first: nothing is written with a wrong one.
        Raises `WrongKeyError`, `SearchAttributesMissingError`, or Temporal's `RPCError`.
        """
        await self._keys.ensure(self._client)
        await ensure_search_attributes(self._client)
        if self._orders:
            await sync_schedules(self._client, self._settings)
        if self._subscriber:
            await start_subscriptions(self._client, self._settings)
        self._namespace = await namespace_id(self._client)

    async def look(self, open_since: datetime | None = None) -> None:
        """Register again what is missing. `open_since`: when the oldest order began that is unfinished now.

        A wrong encryption key ends the process's work (`KeyWatch`), and nothing is registered. Raises `WrongKeyError`,
        `SearchAttributesMissingError`, or Temporal's `RPCError`; then the next look goes on.
        """
        await self._keys.ensure(self._client)
        namespace = await namespace_id(self._client)
        await self._restore()
        is_another = namespace != self._namespace
        if is_another and self._orders:
            for route in self._settings.routes:
                await start_gap(self._client, self._settings.org(route.org).id, self._gap(route))
                self._metrics.gaps.add(1, {"reason": GapReason.TEMPORAL_LOST})
        if is_another or self._restored:
            _log.warning(
                "Temporal has %s; registered again: %s",
                "another namespace of our name: its data are lost" if is_another else "lost data",
                ", ".join(self._restored) or "nothing",
            )
        self._namespace = namespace
        self._restored = []
        now = datetime.now(UTC)
        self._known_since = min(now, open_since or now)

    async def _restore(self) -> None:
        missing = await missing_search_attributes(self._client)
        if missing:
            await ensure_search_attributes(self._client)
            self._note("search-attribute", missing)
        if self._orders:
            self._note("schedule", await restore_schedules(self._client, self._settings))
        if self._subscriber:
            self._note("subscription", await restore_subscriptions(self._client, self._settings))

    def _note(self, what: str, names: Sequence[str]) -> None:
        self._restored += names
        self._metrics.restored.add(len(names), {"what": what})

    def _gap(self, route: Route) -> Gap:
        """By the hour, so that the processes that open it agree about its name, and only one gap is opened."""
        lookback = route.sweep.lookback if route.sweep is not None else timedelta(0)
        return Gap(
            since=_hour(self._known_since - lookback),
            until=_hour(datetime.now(UTC)),
            reason=GapReason.TEMPORAL_LOST,
            route=route.name,
            note="Temporal has lost its data: orders that were unfinished have no workflow any more",
        )


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
