"""From a message to a durable workflow: the one way for every channel that carries event payloads.

A message that names a record starts or signals that record's order workflow. An unparseable message becomes a workflow
of its own, which needs attention. No message is dropped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from datetime import datetime
from typing import Any, Final

from temporalio import activity
from temporalio.client import Client

from activities.failures import errors_as_failures
from activities.passing import not_here
from closedwon.acceptance import Notification, accept, start_held
from closedwon.errors import AttentionError, AttentionReason, ClosedwonError
from closedwon.ids import OrgId
from closedwon.mapping.orders import check_org, records_of
from closedwon.model.messages import UnparseableMessage
from closedwon.model.routes import Channel
from closedwon.settings import Route, Settings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.messages import park_unparseable

_log = logging.getLogger(__name__)

_HALF: Final = re.compile("[\ud800-\udfff]")
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
"""What may become part of a workflow's id as it is."""


class UnparseableError(AttentionError):
    """A message that names no record we can read."""

    def __init__(self, problem: str) -> None:
        """Say what is wrong with it, without its values."""
        super().__init__(
            problem,
            reason=AttentionReason.INVALID_MESSAGE,
            hint="Correct the route's `record_id`, then send `retry`. Or handle the record by hand, then send "
            "`cancel`.",
        )


class MessageActivities:
    """Turns event payloads into workflows."""

    def __init__(self, settings: Settings, client: Client, metrics: Metrics) -> None:
        """Take the client that starts the workflows."""
        self._settings = settings
        self._client = client
        self.metrics = metrics

    @activity.defn
    async def read_again(self, message: UnparseableMessage) -> None:
        """Try again to start an order workflow from an unparseable message."""
        with errors_as_failures():
            if message.is_held:
                await start_held(self._client, message.raw)
                return
            route = self.route_of(message.org, message.source)
            raw = json.loads(message.raw)
            payload = raw.get("payload") if isinstance(raw, dict) else None
            await self._start_order(route, message.org, payload, message.id, message.received_at)

    async def accept(
        self, route: Route, org: OrgId, raw: dict[str, Any], *, event_id: str | None, source: str, at: datetime
    ) -> None:
        """Make an event durable. `raw` is all that came; its `payload` holds the event's fields.

        When this returns, the event is a workflow. Raises Temporal's errors when it could not be stored.
        """
        text = as_text(raw)
        message_id = event_id if event_id and _PLAIN_ID.fullmatch(event_id) else _digest(text)
        outcome = "accepted"
        try:
            await self._start_order(route, org, raw.get("payload"), message_id, at)
        except ClosedwonError as error:
            outcome = "unparseable"
            _log.warning("message %s from %s cannot be read: %s", message_id, source, error)
            await park_unparseable(
                self._client,
                UnparseableMessage(
                    id=message_id,
                    org=org,
                    channel=Channel.PLATFORM_EVENT,
                    source=source,
                    received_at=at,
                    problem=str(error),
                    raw=text,
                ),
            )
        self.metrics.messages.add(1, {"channel": Channel.PLATFORM_EVENT, "outcome": outcome})

    def route_of(self, org: OrgId, channel: str) -> Route:
        """Find the route that reads an event bus channel of an org. Raises what `not_here` returns."""
        for route in self._settings.routes:
            if channel in route.events and self._settings.org(route.org).id == org:
                return route
        otherwise = "; or terminate this workflow"
        raise not_here(f"route of org {org} with the event", channel, "routes", otherwise=otherwise)

    async def _start_order(self, route: Route, org: OrgId, payload: object, message_id: str, at: datetime) -> None:
        if not isinstance(payload, dict):
            raise UnparseableError("it has no payload")
        check_org(route, org, payload)
        for record in records_of(route, payload):
            notification = Notification(
                record,
                message_id,
                Channel.PLATFORM_EVENT,
                received_at=at,
                fields=payload,
                modified_at=at,  # starts are concurrent: without it, the older of two payloads could come last
            )
            await accept(self._client, self._settings, route, notification)


def as_text(raw: dict[str, Any]) -> str:
    """Write an event as JSON. Escapes only where nothing else can keep a character (half of an emoji, cut by Apex).

    An escape costs seven bytes in Temporal, which takes 2 MB; an event may have 1 MB.
    """
    text = json.dumps(raw, sort_keys=True, ensure_ascii=False, default=str)
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
