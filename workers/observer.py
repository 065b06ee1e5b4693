"""Shows in metrics what no single order can report: the facts that `doctor` and `top` show, too (`closedwon.facts`).

How many orders stand where, and since when; which need attention; what waits for a worker; whether the bus is read.
Every process with the role `orders` does so, and all report the same, so that no single failure hides it. It costs
about one small request per stage, queue and channel, and never touches an order. A failure is shown by the log
(`workers.looking`) and the age of `closedwon_observed_timestamp_seconds`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from temporalio.client import Client

from closedwon import names
from closedwon.audit.kinds import FindingKind
from closedwon.errors import AttentionReason
from closedwon.facts import overview
from closedwon.facts.queues import QueueMap
from closedwon.facts.readers import Reader, ReaderState
from closedwon.model.audits import AuditFinding
from closedwon.settings import Settings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.queues import ACTIVITIES
from closedwon.temporal.sweeps import OpenGap


class Observer:
    """Sets the gauges."""

    def __init__(self, client: Client, settings: Settings, metrics: Metrics) -> None:
        self._client = client
        self._settings = settings
        self._metrics = metrics
        self._routes = {names.RouteKey(settings.org(route.org).id, route.name): route.org for route in settings.routes}
        self._orgs = {org.id: org.name for org in settings.orgs}
        self._kinds: set[str] = set(FindingKind)
        self._reasons: set[str] = set(AttentionReason)
        self._began = datetime.now(UTC)
        self.open_since: datetime | None = None
        """When the oldest order that was unfinished at the last observation began; None where there was none."""

    async def observe(self) -> None:
        """Set all gauges once. Raises Temporal's `RPCError`, or `CodecError` if a key is missing."""
        seen = await overview.look(self._client, self._settings, self._reasons)
        self._show_orders(seen)
        self._show_queues(seen.queues)
        for reader in seen.readers:
            self._show_reader(reader, seen.at)
        self._show_gaps(seen.gaps, seen.at)
        self._show_findings(seen.findings)
        self._metrics.wedged.set(seen.wedged)
        self.open_since = seen.at - seen.oldest if seen.unfinished else None
        self._metrics.observed_at.set(time.time())

    def _show_orders(self, seen: overview.Overview) -> None:
        for stage, found in seen.stages.items():
            self._metrics.open_orders.set(found.number, {"stage": stage})
        for stage in names.UNFINISHED:
            self._metrics.oldest_order.set(seen.stages[stage].oldest.total_seconds(), {"stage": stage})
        self._reasons |= seen.reasons.keys()  # with those of a later version, to be set to 0 when they are gone
        for reason in self._reasons:
            self._metrics.attention_now.set(seen.reasons[reason], {"reason": reason})

    def _show_queues(self, queues: QueueMap) -> None:
        for (name, kind), queue in queues.items():
            state = queue.state
            self._metrics.backlog.set(state.backlog, queue.labels)
            self._metrics.backlog_age.set(state.oldest.total_seconds(), queue.labels)
            self._metrics.pollers.set(len(queue.workers), queue.labels)
            if kind == ACTIVITIES:
                self._metrics.paused.set(int(state.is_paused), {"queue": name})
                self._metrics.unreachable.set(int(state.breaker.limit is not None), {"queue": name})

    def _show_reader(self, reader: Reader, now: datetime) -> None:
        """Set its state, and how long it has been silent; without any proof, since this process began."""
        labels = {"org": reader.org.name, "channel": reader.channel}
        silence = now - self._began if reader.silence is None else reader.silence
        self._metrics.reader_silence.set(max(silence.total_seconds(), 0.0), labels)
        for state in ReaderState:
            self._metrics.reader_state.set(int(state is reader.state), {**labels, "state": state})

    def _show_gaps(self, gaps: Iterable[OpenGap], now: datetime) -> None:
        began: dict[names.RouteKey, list[datetime]] = {}
        for one in gaps:
            began.setdefault(one.key, []).append(one.gap.since or one.gap.until)
        for key, org in self._routes.items():
            ages = [now - at for at in began.get(key, ())]
            labels = {"org": org, "route": key.route}
            self._metrics.open_gaps.set(len(ages), labels)
            self._metrics.oldest_gap.set(max(ages, default=timedelta(0)).total_seconds(), labels)

    def _show_findings(self, findings: Sequence[AuditFinding]) -> None:
        found = {(one.org, one.kind): one.number for one in findings}
        self._kinds |= {kind for _, kind in found}  # with those of a later version, to be set to 0 when they are gone
        for org, name in self._orgs.items():
            for kind in self._kinds:
                self._metrics.audit_findings.set(found.get((org, kind), 0), {"org": name, "kind": kind})
