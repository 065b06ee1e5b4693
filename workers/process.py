"""One process: connect, check, run the chosen roles, stop gracefully on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from enum import StrEnum
from typing import Any

from temporalio.client import Client

from activities.holds import Holds
from closedwon import names
from closedwon.errors import ClosedwonError
from closedwon.facts.readers import check_readers
from closedwon.intake import IntakeServer
from closedwon.settings import Settings
from closedwon.telemetry.metrics import Check, Telemetry
from closedwon.temporal.builds import current_build
from closedwon.temporal.client import connect, patiently
from closedwon.temporal.search_attributes import check_namespace
from workers.breaker import Breaker
from workers.checks import Checks, checking
from workers.connections import Connections
from workers.deployment import until_known
from workers.keys import KeyWatch
from workers.lasting import LastingWorker, NamespaceWait
from workers.limits import report_limits
from workers.looking import Look, looking
from workers.observer import Observer
from workers.orders import order_workers
from workers.registration import Registration
from workers.renewal import TargetWatch
from workers.running_checks import of_settings, of_systems
from workers.subscriber import subscription_worker
from workers.usage import report_usage

_log = logging.getLogger(__name__)


class Role(StrEnum):
    """What a process does."""

    ORDERS = "orders"
    SUBSCRIBER = "subscriber"
    INTAKE = "intake"


class NotStartedError(ClosedwonError):
    """The process is still connecting."""


class WorkerFailedError(ClosedwonError):
    """Temporal turned a running worker away for good, e.g. since its credential was revoked."""


async def run(settings: Settings, roles: Sequence[Role]) -> None:
    """Run until `stop` is set; intake only if `[intake]` is set.

    Raises `ClosedwonError` when it cannot start, or when a worker dies.
    """
    roles = [role for role in roles if role is not Role.INTAKE or settings.intake is not None]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    telemetry = Telemetry.start(settings.telemetry, service="+".join(roles))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(telemetry.close)
        process = _Process(settings, telemetry, roles)
        await telemetry.serve(process.readiness)
        working = asyncio.create_task(process.work(stop))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if stop.is_set() and not process.is_running:
            working.cancel()  # still waiting for Temporal
        await asyncio.wait({working})
        _raise_failure(working, is_stopping=stop.is_set())
    _log.info("stopped")


def _raise_failure(working: asyncio.Task[None], *, is_stopping: bool) -> None:
    """Raise what has ended the work. The SDK cancels it for each worker that dies; of several, no error stays."""
    if working.cancelled():
        if not is_stopping:
            raise WorkerFailedError("The workers have failed and cannot go on; see `Worker failed` in the log")
        return
    error = working.exception()
    if isinstance(error, RuntimeError):  # what the SDK raises
        raise WorkerFailedError(f"A worker has failed and cannot go on: {error.__cause__ or error}") from error
    if error is not None:
        raise error


class _Process:
    """What a running process holds."""

    def __init__(self, settings: Settings, telemetry: Telemetry, roles: Sequence[Role]) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._roles = roles
        self._client: Client | None = None
        self._doing = "connecting to Temporal"
        """What a start that is not over is doing, for `/readyz`."""
        self._keys = KeyWatch()
        self._target = TargetWatch()
        self._ends: list[Callable[[], Awaitable[None]]] = []
        self.is_running = False
        self.identity = f"closedwon {'+'.join(roles)} {os.getpid()}@{socket.gethostname()}"

    async def work(self, stop: asyncio.Event) -> None:
        """Connect, start the workers and run until `stop`; while an encryption key is wrong, wait.

        With a renewed certificate for Temporal, all begins again.

        All in one task: it is the task that has started a worker which the SDK cancels when that worker dies.
        """
        while not stop.is_set():
            async with AsyncExitStack() as stack:
                client = await self._start(stack)
                _log.info("%s is ready", self.identity)
                await _first(stop.wait(), self._keys.until_wrong(), self._target.until_changed())
                _log.info("stopping: running calls are finished first")
                # Together: leaving the stack ends one after the other, and each may take the whole grace.
                await asyncio.gather(*(end() for end in self._ends))
            self._ends.clear()
            if not stop.is_set():
                self.is_running = False
                if self._keys.is_wrong:
                    await self._keys.until_right(client)

    async def _start(self, stack: AsyncExitStack) -> Client:
        self._doing = "connecting to Temporal"
        self._target.note()
        client = await connect(
            self._settings.encryption,
            runtime=self._telemetry.runtime,
            identity=self.identity,
            plugins=self._telemetry.plugins,
        )
        metrics = self._telemetry.metrics
        registration = Registration(
            client,
            self._settings,
            metrics,
            self._keys,
            orders=Role.ORDERS in self._roles,
            subscriber=Role.SUBSCRIBER in self._roles,
        )
        self._doing = "registering with Temporal"
        await patiently(client, registration.register)
        self._doing = "checking settings and systems"
        connections = await stack.enter_async_context(self._connections())
        self._report(stack, client, connections)
        holds, wait = Holds(), NamespaceWait(client)
        queues = []
        if Role.INTAKE in self._roles or Role.ORDERS in self._roles:
            # First: no message is accepted before it is known whether any sender could have sent it.
            own = Checks(client, of_settings(self._settings), holds, metrics)
            await stack.enter_async_context(checking(own))
        if Role.SUBSCRIBER in self._roles:
            end = await stack.enter_async_context(
                subscription_worker(client, self._settings, connections, metrics, wait)
            )
            self._ends.append(end)
            queues.append(names.SUBSCRIBER_QUEUE)
        if Role.INTAKE in self._roles and self._settings.intake is not None:
            intake = IntakeServer(self._settings, self._settings.intake, client, metrics, holds=holds)
            stack.push_async_callback(intake.stop)
            self._ends.append(intake.stop)
            await intake.start()
        if Role.ORDERS in self._roles:
            # Last: messages are accepted while the first checks are made; no order goes on before they have ended.
            queues += await self._start_orders(stack, client, connections, holds, wait)
        await stack.enter_async_context(
            looking(self._looks(client, registration), self._settings.telemetry.observe_every)
        )
        self._doing = "waiting until Temporal knows the build"
        await until_known(client, self._settings, queues)
        metrics.started_at.set(time.time())
        self._client, self.is_running = client, True
        return client

    def _report(self, stack: AsyncExitStack, client: Client, connections: Connections) -> None:
        """Report what is used, and what runs short, until the stack ends."""
        settings, metrics = self._settings, self._telemetry.metrics
        for report in (
            report_usage(connections, settings, metrics),
            report_limits(client, connections, settings, metrics),
        ):
            stack.callback(asyncio.create_task(report).cancel)

    def _connections(self) -> Connections:
        """To what the roles need: the settings hold no credential for the others (`closedwon.cli.run`)."""
        orgs = Role.ORDERS in self._roles or Role.SUBSCRIBER in self._roles
        return Connections(self._settings, orgs=orgs, erps=Role.ORDERS in self._roles)

    async def _start_orders(
        self, stack: AsyncExitStack, client: Client, connections: Connections, holds: Holds, wait: NamespaceWait
    ) -> list[str]:
        """Check the systems, then start the workers of the orders; return their task queues."""
        settings, metrics = self._settings, self._telemetry.metrics
        breaker = Breaker(client, connections.contacts)
        await stack.enter_async_context(looking({"see whether the ERPs are reached": breaker.look}, breaker.every))
        checks = Checks(client, of_systems(settings, connections), holds, metrics)
        holds.in_doubt, holds.erp_in_doubt = checks.recheck, checks.recheck_erp
        await stack.enter_async_context(checking(checks))
        self._doing = "starting the workers"
        workers = order_workers(client, settings, connections, metrics, holds=holds, on_fatal_error=wait)
        for worker in workers:
            lasting = await stack.enter_async_context(LastingWorker(worker, wait))
            self._ends.append(lasting.shutdown)
        return [worker.task_queue for worker in workers]

    def _looks(self, client: Client, registration: Registration) -> dict[str, Look]:
        """What is looked at again and again: a process that works on orders sees which are open."""
        register = "register what Temporal has lost"
        if Role.ORDERS not in self._roles:
            return {register: registration.look}
        observer = Observer(client, self._settings, self._telemetry.metrics)
        return {
            register: lambda: registration.look(observer.open_since),
            "observe for the metrics": observer.observe,
        }

    @property
    def readiness(self) -> dict[str, Check]:
        """What `/readyz` asks."""
        asked: dict[str, Check] = {"temporal": self._temporal_is_ready, "workers": self._workers_are_running}
        if Role.SUBSCRIBER in self._roles:
            asked["event bus"] = self._bus_is_read
        return asked

    async def _temporal_is_ready(self) -> None:
        """Raise unless Temporal answers, has our namespace and search attributes, and knows our encryption keys."""
        if self._client is None:
            raise NotStartedError("not connected yet")
        await check_namespace(self._client)
        await self._keys.verify(self._client)

    async def _bus_is_read(self) -> None:
        """Raise unless each channel is read, by whichever process; a reader may be connecting for a minute.

        A process whose build is not current gets no work and cannot read. It is ready to be made current.
        """
        if self._client is None:
            return
        build, deployment = self._settings.workers.build_id, self._settings.workers.deployment
        if build is None or build == await current_build(self._client, deployment):
            await check_readers(self._client, self._settings)

    async def _workers_are_running(self) -> None:
        """Raise until they have been started."""
        if not self.is_running:
            raise NotStartedError(f"not started yet: {self._doing}")


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    """Wait until one of several waits is over. Raises its error."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        over, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in over:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
