"""From a notification to a durable workflow: the same way for every channel.

Callers (event bus, intake, sweeps, the audit's repair) know where a notification came from and which record it names.
Only this module knows the rest: whether the record can belong to the route, whether its content is kept, how
old it is, what the workflow's page shows before the record is read, and how the workflow starts.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from temporalio.client import Client
from temporalio.common import Priority

from closedwon.ids import RecordId
from closedwon.mapping.orders import MappingError, check_prefix, check_record, event_record, summary_of
from closedwon.model.base import Frozen
from closedwon.model.messages import Message, UnparseableMessage
from closedwon.model.order_state import OrderStart
from closedwon.model.routes import Channel, RetrySettings, RouteStart
from closedwon.salesforce.bus.events import aware, believable
from closedwon.settings import Route, Settings
from closedwon.temporal.messages import park_unparseable
from closedwon.temporal.orders import FullError, check_size, start_order

_LATE_MESSAGE_WINDOW: Final = timedelta(hours=72)
"""The event bus replays for so long. A route that reads records needs no window: the record shows its newest state."""


class Notification(NamedTuple):
    """One notification about one record of a known org, on whatever channel."""

    record: RecordId
    id: str
    """The channel's own id; the same notification again has the same id."""
    channel: Channel
    received_at: datetime
    fields: dict[str, Any] | None = None
    """The fields of the record that it contains; None if it only names the record."""
    modified_at: datetime | None = None
    """When that was true, as the channel says it. A SystemModstamp in the content outranks it."""
    deleted: bool = False
    session: str | None = None
    """A Salesforce session id, sealed."""
    summary: str | None = None
    """For the workflow's page, where the content does not name the deal."""


class HeldNotification(Frozen):
    """What is kept of a notification whose workflow was full."""

    order: OrderStart
    message: Message
    summary: str | None


class Start(NamedTuple):
    """What a notification becomes: the workflow's input, the signal, the summary of its page."""

    order: OrderStart
    message: Message
    summary: str | None


def order_start(settings: Settings, route: Route, record: RecordId, of_route: RouteStart | None = None) -> OrderStart:
    """The input of the order workflow of one of the route's records; `of_route` is its part of the route, if made."""
    made = of_route or _route_start(settings, route)
    return OrderStart.of_route(made, org=settings.org(route.org).id, record=record)


def _route_start(settings: Settings, route: Route) -> RouteStart:
    return RouteStart(
        route=route.name,
        retry_settings=RetrySettings(
            initial_interval=settings.retry.initial_interval,
            maximum_interval=settings.retry.maximum_interval,
            retry_for=route.retry_for,
        ),
        late_message_window=_LATE_MESSAGE_WINDOW if route.source == "event" else timedelta(0),
        follow=route.policies.follow,
    )


def prepare(settings: Settings, route: Route, notification: Notification) -> Start:
    """Check a notification and build what starts its workflow, without any effect.

    Raises `MappingError` for a record that cannot be the route's, and for content that is another record's, and
    `UnstorableError`. Content without any field is none: it must not replace what an earlier notification said.
    """
    check_prefix(route, notification.record)
    fields = notification.fields or None
    content = _content(route, fields)
    if content is not None:
        check_record(route, notification.record, content)
    of_route = _route_start(settings, route)
    # The record's own time outranks the channel's, so that all channels are compared by the same clock.
    stamped_at = aware((content or {}).get("SystemModstamp"))
    message = Message(
        id=notification.id,
        channel=notification.channel,
        received_at=notification.received_at,
        payload=fields if route.source == "event" and not notification.deleted else None,
        modified_at=believable(stamped_at or notification.modified_at, notification.received_at),
        stamped_at=believable(stamped_at, notification.received_at),
        session=notification.session,
        deleted=notification.deleted,
        route=of_route,
    )
    check_size(notification.record, message)
    summary = summary_of(route, fields) if fields else None
    order = order_start(settings, route, notification.record, of_route)
    return Start(order, message, summary or notification.summary)


async def accept(
    client: Client,
    settings: Settings,
    route: Route,
    notification: Notification,
    *,
    priority: Priority = Priority.default,
) -> None:
    """Make a notification durable: when this returns, the record's workflow has it. Safe to repeat.

    Raises `MappingError` for a record that cannot be the route's, `temporal.UnstorableError`, or Temporal's `RPCError`.
    """
    await start(client, prepare(settings, route, notification), priority=priority)


async def start(client: Client, prepared: Start, *, priority: Priority = Priority.default) -> None:
    """The second half of `accept`, for callers that check several notifications before the first one has an effect.

    A notification whose workflow takes no further one is held, as a message that cannot be read, so that it stops
    neither its channel nor the other records of its request.
    """
    order, message, summary = prepared
    try:
        await start_order(client, order, message, summary=summary, priority=priority)
    except FullError as error:
        await park_unparseable(
            client,
            UnparseableMessage(
                id=f"{order.record}-{hashlib.sha256(message.id.encode()).hexdigest()[:32]}",
                org=order.org,
                channel=message.channel,
                source=f"route {order.route}",
                received_at=message.received_at,
                problem=str(error),
                hint=error.hint,
                raw=HeldNotification(order=order, message=message, summary=summary).model_dump_json(),
                is_held=True,
            ),
        )


async def start_held(client: Client, raw: str) -> None:
    """Start or signal the order of a notification that was held. Raises as `accept`, and `FullError` if it still is."""
    held = HeldNotification.model_validate_json(raw)
    await start_order(client, held.order, held.message, summary=held.summary)


def in_place_of_event(route: Route, fields: dict[str, Any]) -> dict[str, Any]:
    """What a notification of a route with source `event` would hold, made of the record that was read instead."""
    return fields if route.payload == "@" else {route.payload: json.dumps(fields, default=str)}


def _content(route: Route, fields: dict[str, Any] | None) -> dict[str, Any] | None:
    """What the notification says of the record; its own fields if they do not hold it where the route looks for it."""
    if fields is None:
        return None
    try:
        return event_record(route, fields)
    except MappingError:
        return fields
