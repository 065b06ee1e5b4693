"""Checks the health of an installation: problems in order of harm, each with a hint. Changes nothing.

Here is what is asked of Temporal; the orgs, the ERPs and this machine are asked by `systems`. All questions are asked
side by side, so the answer is there within ten seconds, whatever is slow (`questions`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.encryption.codec import KeyMissingError
from closedwon.errors import ClosedwonError
from closedwon.facts import overview
from closedwon.facts.expiries import key_ages
from closedwon.facts.queues import QueueMap, erp_queues, queues
from closedwon.facts.readers import Reader, ReaderState, readers
from closedwon.facts.waits import example
from closedwon.network.failures import FailureKind, NetworkError
from closedwon.operations import checks, systems
from closedwon.operations.causes import needing_attention
from closedwon.operations.questions import PATIENCE, RECOVER, Question, all_of, answers
from closedwon.operations.troubles import Harm, Trouble, clock, hours
from closedwon.operations.undecryptable import undecryptable
from closedwon.operations.waiting import idle_orders, paused_erps, slow_orders
from closedwon.settings import Settings
from closedwon.settings.values import is_loopback
from closedwon.temporal import census, visibility
from closedwon.temporal.audits import audit_findings
from closedwon.temporal.builds import current_build
from closedwon.temporal.client import NO_NAMESPACE, connect, is_namespace_missing
from closedwon.temporal.key_checks import key_checks
from closedwon.temporal.queues import WORKFLOWS
from closedwon.temporal.search_attributes import missing_search_attributes
from closedwon.temporal.target import WHERE

_RETENTION: Final = timedelta(hours=72)
"""The event bus redelivers for so long; a closed workflow that is still known makes a late duplicate cheap."""
_ANY_HOST: Final = ("0.0.0.0", "::")  # noqa: S104 - where it listens, not where we do
_BY_ITSELF: Final = "A running process registers {} within a minute"
"""The hint for what Temporal has lost (`workers.registration`)."""
_CONNECTION: Final = timedelta(seconds=3)
"""For the connection to Temporal and its first answer."""
_PATIENCE: Final = 4.0
"""Seconds for what must be known of Temporal before all else, with its connection; and for a connection to intake."""
_SAMPLE: Final = 20
"""Wedged workflows whose histories are read."""
_SLOW: Final = "Temporal is slow: check its load, then ask again."


async def examine(settings: Settings, *, old: timedelta = timedelta(hours=1)) -> list[Trouble]:
    """Find all problems, the worst first, in some eight seconds at most.

    An order that is open for longer than `old` is reported as waiting.
    """
    until = asyncio.get_running_loop().time() + PATIENCE
    temporal = _Temporal(settings, old)
    of_temporal, of_the_rest = await asyncio.gather(temporal.examine(until), systems.examine(settings, until))
    order = list(Harm)
    stopped = {trouble.subject for trouble in of_temporal if trouble.harm is Harm.STOPPED}  # a worker found the same
    found = [*of_temporal]
    found += [trouble for trouble in of_the_rest if trouble.harm is not Harm.WAITING or trouble.subject not in stopped]
    if any(one.subject.startswith("erp ") and one.harm is not Harm.RISK for one in found):
        found += temporal.idle
    return sorted(found, key=lambda trouble: order.index(trouble.harm))


class _Temporal:
    """What is asked of Temporal."""

    def __init__(self, settings: Settings, old: timedelta) -> None:
        self._settings = settings
        self._old = old
        self.idle: list[Trouble] = []
        """Orders at the ERP: they are about to be done, unless an ERP has a problem."""

    async def examine(self, until: float) -> list[Trouble]:
        """Connect, then ask all the rest side by side."""
        try:
            async with asyncio.timeout(_PATIENCE):
                client = await connect(self._settings.encryption, patience=timedelta(), each=_CONNECTION)
                missing = await missing_search_attributes(client)
                checked = await key_checks(client)
        except (ClosedwonError, RPCError, TimeoutError) as error:
            return [_unreachable(error)]
        if missing:
            text = f"the namespace {client.namespace} lacks the search attributes {', '.join(missing)}"
            hint = f"{_BY_ITSELF.format('them')}, or its log says who must. If none runs, start `closedwon worker`."
            return [Trouble(Harm.STOPPED, "temporal", text, hint)]
        served = asyncio.create_task(queues(client, self._settings))
        try:
            wrong = [checks.of_key(one) for one in checked if one.differs]
            if wrong:
                found = [Trouble(Harm.STOPPED, one.subject, one.text, one.hint) for one in wrong]
                return [*found, *await answers([self._of_queues(served)], until)]
            now = datetime.now(UTC)
            ages = [one for age in key_ages(self._settings, checked) for one in systems.key_age(age, now)]
            return [*await answers([*self._questions(client, served)], until), *ages]
        finally:
            served.cancel()

    def _of_queues(self, served: asyncio.Task[QueueMap]) -> Question:
        async def ask() -> list[Trouble]:
            found = await asyncio.shield(served)
            return [*_no_workers(found), *paused_erps(erp_queues(found, self._settings))]

        return Question("task queues", ask, _SLOW)

    def _questions(self, client: Client, served: asyncio.Task[QueueMap]) -> Iterator[Question]:
        settings, old = self._settings, self._old

        def of(subject: str, troubles: partial[AsyncIterator[Trouble]]) -> Question:
            return Question(subject, lambda: all_of(troubles()), _SLOW)

        yield of("safety checks", partial(_held, client))
        yield self._of_queues(served)
        yield of("worker versions", partial(_no_current_build, client, settings))
        yield of("event bus", partial(_readers, client, settings))
        yield of("intake", partial(_intake, client, settings))
        yield of("gaps", partial(_gaps, client))
        yield Question("orders", partial(self._orders, client), _SLOW)
        yield of("audit", partial(_findings, client))
        yield of("old orders", partial(_old, client, old))
        yield of("wedged workflows", partial(_wedged, client))
        yield of("alerts", partial(_undelivered_alerts, client, old))
        yield of("schedules", partial(_schedules, client, settings))
        yield of("retention", partial(_retention, client))

    async def _orders(self, client: Client) -> list[Trouble]:
        counted = await overview.stages(client)
        self.idle = [*idle_orders(counted)]
        slow = [trouble async for trouble in slow_orders(client, counted)]
        reasons = await overview.reasons_of(client, counted)
        return [*slow, *await needing_attention(client, reasons, self._settings.orgs)]


def _unreachable(error: Exception) -> Trouble:
    """Temporal does not answer as it should: say why, as its client does."""
    if isinstance(error, ClosedwonError):
        found = checks.of_error("temporal", "TEMPORAL_ADDRESS", error)
        return Trouble(Harm.STOPPED, "temporal", found.text, found.hint)
    if isinstance(error, RPCError):
        text, hint = f"Temporal answers {error.status.name}: {error.message.removesuffix('.')}", WHERE
        if is_namespace_missing(error):
            hint = f"{NO_NAMESPACE} Processes that run continue by themselves when it exists."
    else:
        why = NetworkError(
            FailureKind.NO_ANSWER, f"Temporal takes connections, but gave no answer within {_PATIENCE:g} s"
        )
        text, hint = str(why), f"{why.hint} {WHERE}"
    return Trouble(Harm.STOPPED, "temporal", text, hint)


async def _held(client: Client) -> AsyncIterator[Trouble]:
    """Safety checks that fail in running workers: all orders of an org or an ERP wait."""
    for held in await overview.held(client):
        text = f"{held.failed.text}. Its orders have been waiting since {clock(held.since)}; nothing is lost"
        hint = f"{held.failed.hint} Workers check again every 15 minutes and at start; the orders then continue."
        yield Trouble(Harm.STOPPED, held.failed.subject, text, hint)


def _no_workers(served: QueueMap) -> Iterator[Trouble]:
    """Queues that no living process serves. `worker` serves the orders and the ERPs, `subscriber` the event bus."""
    reported = set()
    for (name, kind), queue in served.items():
        if queue.workers or name in reported or (name == names.ORDERS_QUEUE and kind != WORKFLOWS):
            continue
        reported.add(name)
        command = "subscriber" if name == names.SUBSCRIBER_QUEUE else "worker"
        hint = f"Start `closedwon {command}`. If one is running, compare its settings and its TEMPORAL_ADDRESS."
        yield Trouble(Harm.STOPPED, f"queue {name}", f"no pollers{_waiting(served, name)}", hint)


def _waiting(served: QueueMap, name: str) -> str:
    tasks = sum(queue.state.backlog for (other, _), queue in served.items() if other == name)
    return f"; {tasks} task{'' if tasks == 1 else 's'} wait" if tasks else ""


async def _no_current_build(client: Client, settings: Settings) -> AsyncIterator[Trouble]:
    """Versioned workers get no work until a build is made current."""
    build = settings.workers.build_id
    if build is None:
        return
    # None: no versioned worker has ever polled, which is reported already
    if await current_build(client, settings.workers.deployment) == "":
        hint = (
            f"temporal worker deployment set-current-version --deployment-name {settings.workers.deployment} "
            f"--build-id {build} --yes"
        )
        yield Trouble(Harm.STOPPED, "worker versions", "no build is current, so versioned workers get no work", hint)


async def _readers(client: Client, settings: Settings) -> AsyncIterator[Trouble]:
    for reader in await readers(client, settings):
        if not reader.state.is_well:
            yield _reader(reader)


def _reader(reader: Reader) -> Trouble:
    kept = "Salesforce keeps events for 72 hours."
    if reader.event_at is not None:
        kept = f"Salesforce keeps events for 72 hours; the last one that was read is of {clock(reader.event_at)}."
    harm, hint = Harm.LOSS, "Check that the org responds and that the integration user may log in."
    match reader.state:
        case ReaderState.NO_SUBSCRIPTION if reader.problem:
            hint = "Start or restart `closedwon subscriber`: one that runs does not begin again what was ended by hand."
        case ReaderState.NO_SUBSCRIPTION:
            hint = f"{_BY_ITSELF.format('it')}. If none runs, start `closedwon subscriber`."
        case ReaderState.NO_READER:
            harm, hint = Harm.STOPPED, "Start `closedwon subscriber`; events wait in Salesforce until then."
        case ReaderState.REFUSED:
            workflow_id = names.subscription_workflow_id(reader.org.id, reader.channel)
            hint = f"Its details in Temporal's UI say why ({workflow_id}); it tries again at least every 5 minutes."
    return Trouble(harm, f"events of {reader.org.name}", reader.text, f"{hint} {kept}")


async def _intake(client: Client, settings: Settings) -> AsyncIterator[Trouble]:
    """Whether intake listens, as far as this machine can see.

    A loopback address is checked only if Temporal is on this machine, too: intake may run on another one.
    """
    intake, temporals = settings.intake, client.service_client.config.target_host.rpartition(":")[0]
    if intake is None or not intake.port or not any(route.outbound or route.callouts for route in settings.routes):
        return
    host = "127.0.0.1" if intake.host in _ANY_HOST else intake.host
    if is_loopback(host) and not is_loopback(temporals):
        return
    try:
        async with asyncio.timeout(_PATIENCE):
            _, writer = await asyncio.open_connection(host, intake.port)
    except (OSError, TimeoutError):
        kept = "Salesforce sends outbound messages again for 24 hours; callouts fail."
        text = f"no process listens on port {intake.port} of {intake.host}"
        yield Trouble(Harm.LOSS, "intake", text, f"Start `closedwon intake`; if it stops, its log says why. {kept}")
    else:
        writer.close()


async def _gaps(client: Client) -> AsyncIterator[Trouble]:
    for one in await overview.gaps_of(client):
        since = clock(one.gap.since) if one.gap.since else "an unknown time"
        text = f"a gap from {since} to {clock(one.gap.until)}, {one.gap.reason}: {one.status}"
        if one.status == "sweeping":
            yield Trouble(Harm.RISK, f"route {one.key.route}", text, "No action: its sweep is running.")
        else:
            hint = f"Deals of that time may have no order; the details of {one.workflow_id} say what to fix."
            yield Trouble(Harm.LOSS, f"route {one.key.route}", text, hint)


async def _findings(client: Client) -> AsyncIterator[Trouble]:
    """What the newest scheduled audit has found."""
    for one in await audit_findings(client):
        text = f"{one.number} {one.kind}: {one.title}; e.g. {one.examples[0]}" if one.examples else one.text
        yield Trouble(Harm.WAITING, "audit", text, f"{one.hint} List them: closedwon audit")


async def _old(client: Client, old: timedelta) -> AsyncIterator[Trouble]:
    """Orders that have waited long for the ERP or Salesforce, with the failure of one of them."""
    stages = [stage for stage in names.UNFINISHED if stage is not names.OrderStage.ATTENTION]
    query = visibility.all_of(visibility.at_stage(*stages), visibility.started_before(datetime.now(UTC) - old))
    found = await census.census(client, query)
    if found.number:
        text = f"{found.number} open for more than {hours(old)}, the oldest for {hours(found.oldest)}"
        text += await example(client, query)
        yield Trouble(Harm.WAITING, "old orders", text, "When the system responds again: closedwon orders retry --all")


async def _wedged(client: Client) -> AsyncIterator[Trouble]:
    number = await overview.wedged(client)
    if not number:
        return
    text = f"{number} cannot continue: their code fails, does not fit their history, or lacks a key"
    which = f'temporal workflow list -q "{visibility.WEDGED}"'
    hint = f"The log of the workers says why; they continue once that is fixed. {which}"
    with suppress(KeyMissingError):
        async for one in undecryptable(client, visibility.WEDGED, limit=_SAMPLE):
            text = f"{number} cannot continue; e.g. {one.id} was written with a wrong encryption key"
            hint = RECOVER
            break
    yield Trouble(Harm.WAITING, "wedged workflows", text, hint)


async def _undelivered_alerts(client: Client, old: timedelta) -> AsyncIterator[Trouble]:
    """Alerts that the webhook does not accept."""
    is_ours, before = visibility.of_type(names.ALERT_WORKFLOW), datetime.now(UTC) - old
    waiting = visibility.all_of(is_ours, visibility.RUNNING, visibility.started_before(before))
    number = (await client.count_workflows(waiting)).count
    failed = (await client.count_workflows(visibility.all_of(is_ours, visibility.has_status("Failed")))).count
    if number or failed:
        text = f"{number} not accepted by the webhook for more than {hours(old)}, {failed} failed for good"
        hint = f'Correct `alerts` in the settings, or the webhook. The reason: temporal workflow list -q "{is_ours}"'
        yield Trouble(Harm.RISK, "alerts", text, hint)


async def _schedules(client: Client, settings: Settings) -> AsyncIterator[Trouble]:
    """Sweeps and audits that do not run: lost notifications are then not found automatically."""
    for route in settings.routes:
        if route.sweep is None:
            text = "it is not swept: only an audit finds lost notifications"
            hint = "Add [routes.sweep] to the route in closedwon.toml and restart the workers."
            yield Trouble(Harm.RISK, f"route {route.name}", text, hint)
            continue
        schedule_id = names.sweep_schedule_id(settings.org(route.org).id, route.name)
        async for trouble in _schedule(client, schedule_id, f"route {route.name}", "its sweeps are"):
            yield trouble
    for org in settings.orgs if settings.audit.enabled else ():
        async for trouble in _schedule(client, names.audit_schedule_id(org.id), f"org {org.name}", "its audits are"):
            yield trouble


async def _schedule(client: Client, schedule_id: str, subject: str, what: str) -> AsyncIterator[Trouble]:
    try:
        found = await client.get_schedule_handle(schedule_id).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        hint = f"{_BY_ITSELF.format('the schedule')}. If none runs, start `closedwon worker`."
        yield Trouble(Harm.RISK, subject, f"{what} not scheduled", hint)
        return
    state = found.schedule.state
    if state.paused:
        text = f"{what} paused" + (f": {state.note}" if state.note else "")
        hint = f"temporal schedule toggle --schedule-id {schedule_id} --unpause --reason …"
        yield Trouble(Harm.RISK, subject, text, hint)


async def _retention(client: Client) -> AsyncIterator[Trouble]:
    answer = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    kept = answer.config.workflow_execution_retention_ttl.ToTimedelta()
    if kept < _RETENTION:
        text = f"closed workflows are kept for {hours(kept)}, but Salesforce may send a message again for 72 h"
        hint = f"temporal operator namespace update -n {client.namespace} --retention 168h"
        yield Trouble(Harm.RISK, "retention", text, hint)
