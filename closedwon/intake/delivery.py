"""Turns the notifications of a request into durable workflows, within the deadline.

The guarantee: a request is acknowledged only if every notification in it is durable in Temporal. So:

- A request is validated as a whole before the first workflow starts. A request that can never succeed starts nothing.
- All starts run at the same time, until the deadline of the request. The first failure cancels the others, and the
  caller gets "send again". Some workflows may have started by then; they stay.
- Sending again is safe: each start is idempotent by the order's workflow id and the notification's message id, so
  notifications that were accepted the first time have no second effect.
- A process that dies after Temporal's acceptance and before its answer leaves durable workflows and a caller that sends
  again. `on_durable` is that moment; tests kill the process there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from temporalio.client import Client
from temporalio.common import Priority
from temporalio.service import RPCError

from closedwon.acceptance import Notification, prepare, start
from closedwon.errors import ClosedwonError
from closedwon.ids import OrgId, RecordId
from closedwon.mapping.orders import MappingError
from closedwon.model.routes import Channel
from closedwon.settings import Route, Settings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.orders import BEHIND_PROVEN, TooLargeMessageError, UnstorableError

if TYPE_CHECKING:
    from closedwon.intake.limits import Caller, Limits

answer_until: ContextVar[float] = ContextVar("answer_until")
"""The deadline of the current request, by the clock of the event loop."""


class IntakeError(ClosedwonError):
    """The server cannot start."""


class MessageRefusedError(Exception):
    """A request that is not accepted. `reason` is a stable value of the metric, the text is for the caller."""

    def __init__(self, status: HTTPStatus, reason: str, text: str) -> None:
        """`text` must not contain field values."""
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.ids: tuple[str, ...] = ()
        """Ids of the notifications or records in the request, for the log."""


class NotDurableError(MessageRefusedError):
    """Temporal did not accept the whole request in time: the caller must send it again, with the same ids."""

    def __init__(self, cause: str) -> None:
        """`cause` completes the text for the caller."""
        super().__init__(HTTPStatus.SERVICE_UNAVAILABLE, "not-durable", f"not durable ({cause}); send again")


OnDurable = Callable[[], Awaitable[None]]
"""Called between Temporal's acceptance of a whole request and the answer; tests use it to kill the process."""


async def nothing() -> None:
    """Do nothing. The default of `OnDurable`."""


class Delivery:
    """Starts or signals the workflows of one channel."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        metrics: Metrics,
        channel: Channel,
        limits: Limits,
        on_durable: OnDurable = nothing,
    ) -> None:
        """All channels share the same `limits`."""
        self._limits = limits
        self._on_durable = on_durable
        self._settings = settings
        self._client = client
        self._metrics = metrics
        self._channel = channel

    @contextmanager
    def admitted(self, caller: Caller, route: Route, body: bytes) -> Iterator[None]:
        """Hold one of the places for work during a block; enter it before you parse the body.

        Raises `MessageRefusedError` if there is none, or if the sender must wait.
        """
        self._limits.check(caller, self._settings.org(route.org).id, body)
        with self._limits.working(caller):
            yield

    @contextmanager
    def parsing(self, caller: Caller, route: Route, body: bytes) -> Iterator[Callable[[int], None]]:
        """Charge for a body that is parsed and checked in a block, which passes on how many records it names.

        If the block raises, a proven sender is charged for one record, and another one for garbage.
        """
        org = self._settings.org(route.org).id
        counts: list[int] = []
        try:
            yield counts.append
        except Exception:
            if caller.is_proven:
                self._limits.charge(caller, org, 1, len(body))
            else:
                self._limits.charge_garbage(caller, len(body))
            raise
        self._limits.charge(caller, org, sum(counts), len(body))

    def check_org(self, route: Route, org: OrgId) -> None:
        """Raise `MessageRefusedError` unless the org is the route's."""
        if org != self._settings.org(route.org).id:
            raise MessageRefusedError(
                HTTPStatus.FORBIDDEN, "org", f"OrganizationId {org} is not the org of route {route.name!r}"
            )

    def notification(
        self, record: RecordId, message_id: str, fields: dict[str, Any] | None = None, **more: Any
    ) -> Notification:
        """Create a notification of this channel, received now."""
        return Notification(record, message_id, self._channel, received_at=datetime.now(UTC), fields=fields, **more)

    async def deliver(self, caller: Caller, route: Route, notifications: Sequence[Notification]) -> None:
        """Return when every notification is durable.

        Raises `MessageRefusedError`, of which a `NotDurableError` may succeed when sent again. The request is validated
        as a whole before the first workflow starts.
        """
        try:
            prepared = [prepare(self._settings, route, each) for each in notifications]
        except MappingError as error:
            raise MessageRefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "record", str(error)) from None
        except UnstorableError as error:
            raise _unfit(error) from None
        org = self._settings.org(route.org).id
        priority = Priority.default if caller.is_proven else BEHIND_PROVEN
        self._limits.admit_new(caller, org, [each.record for each in notifications])
        try:
            async with asyncio.timeout_at(answer_until.get()), asyncio.TaskGroup() as starts:
                for each in prepared:
                    starts.create_task(start(self._client, each, priority=priority))
        except TimeoutError:
            raise NotDurableError("Temporal did not respond in time") from None
        except ExceptionGroup as group:  # the first failure cancels the other starts
            raise _refusal(group.exceptions[0]) from None
        await self._on_durable()
        self.count("accepted", len(notifications))

    def count(self, outcome: str, messages: int = 1) -> None:
        """Count the outcome of messages."""
        self._metrics.messages.add(messages, {"channel": self._channel, "outcome": outcome})


def _unfit(error: UnstorableError) -> MessageRefusedError:
    remedy = "send fewer fields" if isinstance(error, TooLargeMessageError) else "correct the text"
    return MessageRefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "unfit", f"{error}; {remedy}")


def _refusal(error: Exception) -> Exception:
    """Map the failure of a start to a refusal; return an unexpected error unchanged."""
    if isinstance(error, UnstorableError):  # the namespace has a lower limit than usual
        return _unfit(error)
    if isinstance(error, RPCError):
        return NotDurableError(f"Temporal responded with {error.status.name}")
    return error
