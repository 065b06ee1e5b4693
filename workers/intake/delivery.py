"""From what a request tells to durable workflows, within the deadline, all or none acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from closedwon.acceptance import Notification, prepare, start
from closedwon.errors import ClosedwonError
from closedwon.ids import OrgId, RecordId
from closedwon.mapping import MappingError
from closedwon.model import Channel, Message
from closedwon.settings import Route, Settings
from closedwon.telemetry import Metrics

answer_until: ContextVar[float] = ContextVar("answer_until")
"""Until when the present request must be answered, on the clock of the event loop."""

_BURST_SECONDS: Final = 10
_LARGEST: Final = 1_900_000
"""Bytes of one message. Temporal takes 2 MiB for a value, and the workflow hands it on with words of its own. Refused
before anything starts: the other records of the request would be half of it."""


class IntakeError(ClosedwonError):
    """The server cannot start."""


class RefusedError(Exception):
    """A request that is not taken. `reason` is a stable word of the metric, the text is for the caller."""

    def __init__(self, status: HTTPStatus, reason: str, text: str) -> None:
        """Take a `text` without field values."""
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.ids: tuple[str, ...] = ()
        """Of the notifications or records that were in the request, for the log."""


class NotDurableError(RefusedError):
    """Temporal did not take all of it in time: the caller must send again, with the same ids."""

    def __init__(self, why: str) -> None:
        """Say why it was not taken."""
        super().__init__(HTTPStatus.SERVICE_UNAVAILABLE, "not-durable", f"not durable ({why}); send again")


class Rates:
    """How fast each org calls: a bucket that leaks at the allowed rate and holds ten seconds' worth."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        """All buckets are empty. `clock` yields seconds."""
        self._per_second = per_second
        self._clock = clock
        self._levels: dict[OrgId, tuple[float, float]] = {}

    def admit(self, org: OrgId) -> bool:
        """Count one request; whether there is room for it."""
        now = self._clock()
        level, then = self._levels.get(org, (0.0, now))
        level = max(0.0, level - (now - then) * self._per_second)
        has_room = level + 1 <= max(1.0, _BURST_SECONDS * self._per_second)
        self._levels[org] = (level + has_room, now)
        return has_room


OnDurable = Callable[[], Awaitable[None]]
"""Called between Temporal's acceptance of a whole request and its answer; a test arms it to kill."""


async def nothing() -> None:
    """Do nothing: production."""


class Delivery:
    """Starts or signals the workflows."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        metrics: Metrics,
        channel: Channel,
        rates: Rates,
        on_durable: OnDurable = nothing,
    ) -> None:
        """Deliver for one channel; all channels share the `rates`."""
        self._rates = rates
        self._on_durable = on_durable
        self._settings = settings
        self._client = client
        self._metrics = metrics
        self._channel = channel

    def check_rate(self, route: Route) -> None:
        """Raise `RefusedError` if the route's org calls too fast. To be asked before a body is parsed."""
        org = self._settings.org(route.org).id
        if not self._rates.admit(org):
            raise RefusedError(
                HTTPStatus.TOO_MANY_REQUESTS, "rate", f"org {org} calls faster than `intake.requests_per_second`"
            )

    def check_org(self, route: Route, org: OrgId) -> None:
        """Raise `RefusedError` unless the org is the route's."""
        if org != self._settings.org(route.org).id:
            raise RefusedError(
                HTTPStatus.FORBIDDEN, "org", f"OrganizationId {org} is not the org of route {route.name!r}"
            )

    def notification(
        self, record: RecordId, message_id: str, fields: dict[str, Any] | None = None, **more: Any
    ) -> Notification:
        """A notification on this channel, received now."""
        return Notification(record, message_id, self._channel, received_at=datetime.now(UTC), fields=fields, **more)

    async def deliver(self, route: Route, notifications: Sequence[Notification]) -> None:
        """Return when every notification is durable.

        Raises `RefusedError`, of which a `NotDurableError` may succeed later. The request is judged as a whole before
        the first workflow starts.
        """
        try:
            prepared = [prepare(self._settings, route, each) for each in notifications]
        except MappingError as error:
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "record", str(error)) from None
        if any(_is_too_large(each.message) for each in prepared):
            raise _unfit()
        try:
            async with asyncio.timeout_at(answer_until.get()), asyncio.TaskGroup() as starts:
                for each in prepared:
                    starts.create_task(start(self._client, each))
        except TimeoutError:
            raise NotDurableError("Temporal takes too long") from None
        except ExceptionGroup as group:  # the first failure ends the other starts, too: the answer is known
            raise _refusal(group.exceptions[0]) from None
        await self._on_durable()
        self.count("accepted", len(notifications))

    def count(self, outcome: str, messages: int = 1) -> None:
        """Record what became of messages."""
        self._metrics.messages.add(messages, {"channel": self._channel, "outcome": outcome})


def _is_too_large(message: Message) -> bool:
    return message.payload is not None and len(message.model_dump_json().encode()) > _LARGEST


def _unfit() -> RefusedError:
    return RefusedError(
        HTTPStatus.UNPROCESSABLE_ENTITY, "unfit", "Temporal cannot take so large a record; send fewer fields"
    )


def _refusal(error: Exception) -> Exception:
    """What the failure of a start means to the caller; one that nobody foresaw stays what it is."""
    if not isinstance(error, RPCError):
        return error
    if error.status is RPCStatusCode.INVALID_ARGUMENT:  # by a Temporal that takes less than others do
        return _unfit()
    return NotDurableError(f"Temporal answers {error.status.name}")
